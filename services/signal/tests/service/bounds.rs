//! What calls may take: watchers of features and spectrograms are bounded, and a refusal says by what.

use proto::signal::v1::{GetSpectrogramRequest, WatchFeaturesRequest};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::client;
use crate::sandbox::{Sandbox, within};
use crate::source::{self, body, room};

#[tokio::test(flavor = "multi_thread")]
async fn one_watcher_too_many_is_refused_until_another_has_gone() {
    let sandbox = Sandbox::with(&[("signal.max_watchers", "2")]).await;
    let mut signal = client(&sandbox).await;
    let watch = || WatchFeaturesRequest {
        zone: "lab".into(),
        device: String::new(),
    };
    let first = signal.watch_features(watch()).await.unwrap();
    let mut second = signal.watch_features(watch()).await.unwrap().into_inner();
    let refused = signal.watch_features(watch()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("2 watchers")
            && refused.message().contains("signal.max_watchers"),
        "{refused:?}"
    );
    let reason = refused.get_error_details();
    assert_eq!(reason.error_info().unwrap().reason, "TOO_MANY_WATCHERS");
    // A wrong request takes no place.
    let wrong = WatchFeaturesRequest {
        zone: "No Zone".into(),
        device: String::new(),
    };
    let wrong = signal.watch_features(wrong).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);

    drop(first);
    let again = async {
        let mut again = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            again.tick().await;
            match signal.watch_features(watch()).await {
                Ok(stream) => return stream.into_inner(),
                Err(refused) => assert_eq!(refused.code(), Code::ResourceExhausted),
            }
        }
    };
    let mut third = within("a place", again).await;
    sandbox.publish(&source::inputs(room(5.0, 3, body))).await;
    for stream in [&mut second, &mut third] {
        let window = within("a window", stream.message()).await.unwrap();
        assert!(window.unwrap().window.is_some());
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spectrograms_beyond_those_at_once_are_refused() {
    let sandbox = Sandbox::with(&[("signal.max_spectrograms", "1")]).await;
    let inputs = source::inputs(room(60.0, 3, body));
    let windows = source::windows(&source::run(&inputs)).len();
    sandbox.publish(&inputs).await;
    assert_eq!(sandbox.stored_windows(windows).await, windows);
    let spectrogram = || GetSpectrogramRequest {
        zone: "lab".into(),
        device: "node-1".into(),
        seconds: Some(60.0),
        window_seconds: Some(1.0),
    };
    let signal = client(&sandbox).await;
    let asked = (0..32).map(|_| {
        let mut signal = signal.clone();
        async move { signal.get_spectrogram(spectrogram()).await }
    });
    let answers = within("the answers", futures::future::join_all(asked)).await;
    let (answered, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(!answered.is_empty() && !refused.is_empty());
    for answer in refused {
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(
            refused.message().contains("signal.max_spectrograms"),
            "{refused:?}"
        );
    }
    // They give their places back.
    let answer = signal.clone().get_spectrogram(spectrogram()).await.unwrap();
    assert_eq!(answer.into_inner().frames, 6_000);
    sandbox.stop().await;
}
