use serde_json::Value;

use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_from_its_creation_to_its_end() {
    let mut system = System::start().await;
    system.start_gateway(None).await;
    let (code, out, err) = system.output(&["devices", "list"]).await;
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("no device is registered"), "{err}");

    let create = [
        "devices",
        "create",
        "hall-1",
        "--zone",
        "hall",
        "--hardware-id",
        "adr018:7",
        "--type",
        "esp32-adr018",
    ];
    let (code, out, err) = system
        .output(&[&create[..], &["--validate-only"]].concat())
        .await;
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(
        system.output(&["devices", "list", "--json"]).await.1,
        "",
        "only checked"
    );
    let device = system.json(&[&create[..], &["--json"]].concat()).await;
    assert_eq!(device["name"], "hall-1");
    assert_eq!(device["zone"], "hall");
    assert_eq!(device["state"], "provisioning");
    assert_eq!(device.get("frame_rate_hz"), None, "not measured, so absent");

    let mut watch = system.fresnel(&["devices", "watch", "--json"]);
    let first: Value = serde_json::from_str(&watch.line().await).unwrap();
    assert_eq!(first["device"]["zone"], "hall");

    let etag = device["etag"].as_str().unwrap();
    let updated = system
        .json(&[
            "devices", "update", "hall-1", "--zone", "den", "--etag", etag, "--json",
        ])
        .await;
    assert_eq!(updated["zone"], "den");
    assert_eq!(
        updated["hardware_id"], "adr018:7",
        "what was not named stays"
    );
    assert_eq!(
        system.json(&["devices", "get", "hall-1", "--json"]).await,
        updated
    );
    let change: Value = serde_json::from_str(&watch.line().await).unwrap();
    assert_eq!(
        (&change["device"]["zone"], &change["deleted"]),
        (&"den".into(), &false.into())
    );

    let (_, table, _) = system.output(&["devices", "list", "--zone", "den"]).await;
    assert!(
        table.contains("hall-1") && table.contains("provisioning"),
        "{table}"
    );
    assert_eq!(
        system
            .output(&["devices", "list", "--zone", "hall", "--json"])
            .await
            .1,
        ""
    );

    let (code, out, _) = system.output(&["devices", "delete", "hall-1"]).await;
    assert_eq!((code, out.as_str()), (0, "hall-1 is removed\n"));
    let change: Value = serde_json::from_str(&watch.line().await).unwrap();
    assert_eq!(change["deleted"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_readable() {
    let mut system = System::start().await;
    system.start_gateway(None).await;
    let check = async |args: &[&str], parts: &[&str]| {
        let (code, out, err) = system.output(&[&["devices"], args].concat()).await;
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        for part in parts {
            assert!(err.contains(part), "{args:?}: {err}");
        }
    };
    check(&["get", "nobody"], &["nobody", "(NOT_FOUND"]).await;
    check(
        &["create", "Not_A_Name", "--zone", "hall"],
        &["Not_A_Name", "device.name", "(INVALID_ARGUMENT"],
    )
    .await;
    check(&["update", "nobody"], &["--zone"]).await;
    system
        .json(&["devices", "create", "one", "--zone", "hall", "--json"])
        .await;
    check(
        &["create", "one", "--zone", "den"],
        &["one", "(ALREADY_EXISTS"],
    )
    .await;
    check(&["delete", "one", "--etag", "stale"], &["(ABORTED"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_configured_looked_at_and_set_aside() {
    let mut system = System::start().await;
    system.start_gateway(None).await;
    let create = [
        "devices",
        "create",
        "lamp",
        "--zone",
        "hall",
        "--hardware-id",
        "adr018:7",
        "--json",
    ];
    system.json(&create).await;
    let device = system
        .json(&[
            "devices",
            "configure",
            "lamp",
            "--rate",
            "100",
            "--channel",
            "6",
            "--json",
        ])
        .await;
    assert_eq!(device["configuration"]["sampling_rate_hz"], 100);
    assert_eq!(device["configuration"]["applied"], false);
    assert_eq!(device["expected_rate_source"], "configured");
    let device = system
        .json(&[
            "devices",
            "configure",
            "lamp",
            "--clear",
            "channel",
            "--json",
        ])
        .await;
    assert_eq!(device["configuration"].get("channel"), None);

    // No terminal here: once, as text.
    let (code, out, err) = system.output(&["devices", "top"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("JITTER") && out.contains("-/100 Hz") && out.contains("lamp: no frames"),
        "{out}"
    );
    let aside = system
        .json(&["devices", "maintenance", "lamp", "--json"])
        .await;
    assert_eq!(aside["state"], "maintenance");
    let back = system
        .json(&["devices", "maintenance", "lamp", "--end", "--json"])
        .await;
    assert_eq!(back["state"], "offline");

    let zone = [
        "zones",
        "create",
        "hall",
        "--box",
        "4x3x2.5",
        "--place",
        "ap=0,0,1",
        "--place",
        "lamp=4,3,1",
        "--link",
        "ap:lamp",
        "--json",
    ];
    let zone = system.json(&zone).await;
    assert_eq!(
        (&zone["area_m2"], &zone["links"][0]["path_length_m"]),
        (&12.0.into(), &5.0.into())
    );
    let zone = system
        .json(&["zones", "update", "hall", "--floor", "-1", "--json"])
        .await;
    assert_eq!(
        (&zone["floor"], &zone["area_m2"]),
        (&(-1).into(), &12.0.into())
    );
    let (code, _, err) = system.output(&["zones", "delete", "hall"]).await;
    assert!(
        code == 1 && err.contains("lamp") && err.contains("ZONE_HAS_DEVICES"),
        "{err}"
    );
    let (_, out, _) = system.output(&["zones", "plan"]).await;
    assert!(out.contains("12.0 m2"), "{out}");
}
