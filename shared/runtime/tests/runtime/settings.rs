//! Precedence and errors of configuration, without a process: what `Process::check` says of explicit values.

use runtime::{Process, Settings};

use crate::sample;

/// The sample's section as it would be used, or the error.
fn check(toml: &str, set: &[(&str, &str)]) -> String {
    let settings = Settings::explicit(toml).and_then(|mut settings| {
        for (key, value) in set {
            settings.set(key, value)?;
        }
        Ok(settings)
    });
    let effective = settings
        .map_err(anyhow::Error::from)
        .and_then(|settings| Process::check(&settings, "sample", sample::start));
    match effective {
        Ok(effective) => effective.own_toml() + &effective.common_toml(),
        Err(error) => format!("{error:#}"),
    }
}

fn expect(toml: &str, set: &[(&str, &str)], expected: &str) {
    let found = check(toml, set);
    assert!(
        found.contains(expected),
        "{toml} {set:?}: {expected:?} is not in\n{found}"
    );
}

#[test]
fn higher_layers_win() {
    expect("", &[], "window_s = 2.0  # default");
    expect(
        "[sample]\nwindow_s = 4",
        &[],
        "window_s = 4  # the given text",
    );
    expect(
        "[sample]\nwindow_s = 4",
        &[("sample.window_s", "5.5")],
        "window_s = 5.5  # set sample.window_s",
    );
}

#[test]
fn addresses_not_given_are_free_ports() {
    expect("", &[], "[sample.udp]\nlisten = \"127.0.0.1:0\"");
    expect(
        "[sample.udp]\nlisten = '127.0.0.1:5005'",
        &[],
        "listen = \"127.0.0.1:5005\"  # the given text",
    );
}

#[test]
fn text_stays_text_where_text_is_wanted() {
    expect("", &[("sample.label", "007")], "label = \"007\"");
    expect("", &[("sample.label", "true")], "label = \"true\"");
    expect(
        "[sample]\nlabel = 7",
        &[],
        "sample.label (the given text): invalid type: found signed int `7`, expected a string",
    );
}

#[test]
fn unknown_keys_are_errors_with_the_nearest_known_one() {
    expect(
        "[sample]\nwindw_s = 1",
        &[],
        "sample.windw_s is not a known key (the given text); did you mean sample.window_s?",
    );
    expect(
        "[sample.udp]\nlsten = 1",
        &[],
        "did you mean sample.udp.listen?",
    );
    expect(
        "[sample.grcp]\nlisten = 1",
        &[],
        "did you mean sample.grpc?",
    );
    expect(
        "[sample.grpc]\nport = 1",
        &[],
        "sample.grpc.port is not a known key",
    );
    expect(
        "[smaple]\nx = 1",
        &[],
        "smaple is not a known section (the given text); did you mean sample?",
    );
    expect("[sample]\nzzz = 1", &[], "known here: ");
    expect(
        "[[sample.receivers]]\nnmae = 'x'",
        &[],
        "sample.receivers.0.nmae is not a known key (the given text); did you mean sample.receivers.0.name?",
    );
    expect(
        "",
        &[("nats.ulr", "x")],
        "nats.ulr is not a known key (set nats.ulr); did you mean nats.url?",
    );
}

#[test]
fn sections_of_other_services_are_left_to_them() {
    expect("[pose]\nanything = 1", &[], "window_s = 2.0");
}

#[test]
fn wrong_types_name_key_and_source() {
    expect(
        "[sample]\nwindow_s = 'long'",
        &[],
        "sample.window_s (the given text): invalid type: found string \"long\", expected f64",
    );
    expect(
        "",
        &[("sample.window_s", "long")],
        "sample.window_s (set sample.window_s)",
    );
    expect(
        "[sample]\nfault = 'boom'",
        &[],
        "sample.fault (the given text)",
    );
    expect("[sample]\nudp = 5", &[], "sample.udp (the given text)");
    expect("sample = 5", &[], "sample");
    expect(
        "[nats]\npassword = 5",
        &[],
        "nats.password (the given text) has the wrong type",
    );
    expect("[sample", &[], "the given text");
    expect(
        "[sample]\nwindow_s = 0",
        &[],
        "sample.window_s = 0: must be more than 0 (the given text)",
    );
}

#[test]
fn secrets_come_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, " 123 \n").unwrap();
    let path = path.to_str().unwrap();
    let toml = format!("[sample]\napi_token_file = '{path}'\nlabel_file = '{path}'");
    expect(&toml, &[], "api_token = \"********\"  # file");
    expect(&toml, &[], "label = \"123\"  # file");
    // The higher of key and file wins, and both in one place is a mistake.
    expect(&toml, &[("sample.label", "hall")], "label = \"hall\"");
    expect(
        "[sample]\nlabel = 'x'",
        &[("sample.label_file", path)],
        "label = \"123\"",
    );
    expect(
        &format!("[sample]\nlabel = 'x'\nlabel_file = '{path}'"),
        &[],
        "give one",
    );
    expect(
        "[sample]\napi_token_file = 'nowhere'",
        &[],
        "sample.api_token_file = nowhere (the given text)",
    );
    expect(
        "[sample]\nwindw_file = 'x'",
        &[],
        "sample.windw_file is not a known key",
    );
    let nested = format!("[[sample.receivers]]\nname = 'x'\nurl_file = '{path}'");
    expect(&nested, &[], "url = \"123\"");
}
