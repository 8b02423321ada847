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
