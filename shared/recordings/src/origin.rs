//! Recordings from their origin, over HTTPS.

use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(120);

/// Hosts that could not be reached. Without network one attempt is enough; tests would wait for each recording.
static UNREACHABLE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Brings the contents of a URL, at most `limit` bytes; or says why not.
pub(crate) fn fetch(url: &str, limit: u64) -> Result<Vec<u8>, String> {
    let Some(host) = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split('/').next())
    else {
        return Err("not an https URL".to_owned());
    };
    let known = |hosts: &mut Vec<String>| hosts.iter().any(|known| known == host);
    if UNREACHABLE.lock().is_ok_and(|mut hosts| known(&mut hosts)) {
        return Err("unreachable a moment ago".to_owned());
    }
    let config = ureq::Agent::config_builder()
        .https_only(true)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .build();
    let response = ureq::Agent::new_with_config(config).get(url).call();
    let body = response
        .and_then(|mut response| response.body_mut().with_config().limit(limit).read_to_vec());
    body.map_err(|error| {
        let answered = matches!(
            error,
            ureq::Error::StatusCode(_) | ureq::Error::BodyExceedsLimit(_)
        );
        if !answered && let Ok(mut hosts) = UNREACHABLE.lock() {
            hosts.push(host.to_owned());
        }
        error.to_string()
    })
}

/// Writes a file whole or not at all, so that a reader never sees half of one.
pub(crate) fn keep(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let half = path.with_extension(format!("part-{}", std::process::id()));
    let mut file = std::fs::File::create(&half)?;
    let written = file
        .write_all(contents)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&half, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&half);
    }
    written
}
