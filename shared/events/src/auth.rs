//! Events of `auth`.

use crate::Timestamp;
use crate::declare::events;

events! {
    /// Somebody proved who they are.
    "auth.user_logged_in" v1 of "user" user_id, key(user_id), by "streaming", flags(),
    when "credentials were exchanged for a token";
    pub struct UserLoggedIn {
        pub user_id: String,
        pub timestamp: Timestamp,
        pub method: String,
        pub remote_addr: Option<String>,
    }

    /// Somebody ended their login.
    "auth.user_logged_out" v1 of "user" user_id, key(user_id), by "streaming", flags(),
    when "the refresh token was revoked by its user";
    pub struct UserLoggedOut {
        pub user_id: String,
        pub timestamp: Timestamp,
    }

    /// A login was prolonged.
    "auth.token_refreshed" v1 of "user" user_id, key(user_id), by "streaming", flags(),
    when "a refresh token was rotated";
    pub struct TokenRefreshed {
        pub user_id: String,
        pub timestamp: Timestamp,
        pub expires_at: Timestamp,
    }
}
