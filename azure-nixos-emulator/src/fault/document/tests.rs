//! Documents that are right, and what is said of those that are not.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::*;

/// Every key and every action.
const ALL: &str = r#"
    [[rule]]
    operation = "blob.putPage"
    after = 2
    times = 3
    respond = { status = 503, code = "ServerBusy", message = "Wait.", headers = { Retry-After = 1 } }

    [[rule]]
    plane = "arm"
    method = "get"
    path = "/disks/*/x"
    every = 10
    probability = 0.25
    seed = 7
    from = "30s"
    for = "90s"
    reset = "after"

    [[rule]]
    plane = "blob"
    from = 2030-01-01T00:00:00Z
    until = "2030-01-02T00:00:00Z"
    reset = "before"

    [[rule]]
    plane = "arm"
    delay = "250ms"
    [[rule]]
    plane = "arm"
    delay = ["1s", "2m"]
    [[rule]]
    plane = "arm"
    stall = "2h"
    [[rule]]
    plane = "arm"
    stall-body = "1d"
    [[rule]]
    plane = "arm"
    half-body = true
    [[rule]]
    operation = "blob.putPage"
    header = "X-MS-content-crc64"
    respond = { status = 500, code = "OperationTimedOut", late = "30s" }
    [[rule]]
    plane = "blob"
    reset = "during"
    [[rule]]
    plane = "blob"
    endless-body = true
    [[rule]]
    plane = "blob"
    every = 2
    cut-connection = 1500
    [[rule]]
    plane = "blob"
    expire-access = true
    [[rule]]
    operation = "disks.grantAccess"
    expire-token = true
    [[rule]]
    operation = "disks.delete"
    lose-update = true
    [[rule]]
    operation = "virtualMachines.createOrUpdate"
    fail-operation = { code = "AllocationFailed", message = "No room." }
    [[rule]]
    operation = "virtualMachines.start"
    fail-operation = { code = "AllocationFailed" }
    [[rule]]
    plane = "blob"
    corrupt = "stored"
    [[rule]]
    plane = "blob"
    corrupt = "read"
    [[rule]]
    plane = "blob"
    limit = { requests-per-second = 500, mib-per-second = 60 }
    [[rule]]
    operation = "operations.get"
    count = true
"#;

#[test]
fn a_document_says_what_the_builder_says() {
    let second = Duration::from_secs(1);
    let day = 24 * 3600;
    let year_2030 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let blob = || FaultRule::new(Plane::Blob);
    let arm = || FaultRule::new(Plane::Arm);
    let on = |name: &str| FaultRule::on(name.parse().unwrap());
    let busy = on("blob.putPage")
        .after(2)
        .times(3)
        .respond(503, "ServerBusy");
    let expected = [
        busy.message("Wait.").header("Retry-After", "1"),
        arm()
            .method("GET")
            .path_contains("/disks/*/x")
            .every(10)
            .probability(0.25, 7)
            .from(second * 30)
            .lasting(second * 90)
            .reset_after(),
        blob()
            .from(year_2030)
            .until(year_2030 + second * day)
            .reset_before(),
        arm().delay(second / 4),
        arm().delay_between(second, second * 120),
        arm().stall(second * 7200),
        arm().stall_body(second * day),
        arm().half_body(),
        on("blob.putPage")
            .with_header("x-ms-content-crc64")
            .respond(500, "OperationTimedOut")
            .late(second * 30),
        blob().reset_during(),
        blob().endless_body(),
        blob().every(2).cut_connection(1500),
        blob().expire_access(),
        on("disks.grantAccess").expire_token(),
        on("disks.delete").lose_update(),
        on("virtualMachines.createOrUpdate")
            .fail_operation("AllocationFailed")
            .message("No room."),
        on("virtualMachines.start").fail_operation("AllocationFailed"),
        blob().corrupt_stored(),
        blob().corrupt_read(),
        blob().limit_requests(500).limit_bandwidth(60),
        on("operations.get"),
    ];
    assert_eq!(FaultRule::from_toml(ALL).unwrap(), expected);
    // And what is shown of them is read as the same.
    let shown: Vec<Value> = expected.iter().map(FaultRule::to_json).collect();
    let document = json!({ "rule": shown }).to_string();
    assert_eq!(FaultRule::from_json(&document).unwrap(), expected);
    assert_eq!(FaultRule::from_toml("# none\n"), Ok(Vec::new()));
}

#[test]
fn a_mistake_is_named_with_what_is_allowed() {
    for (rule, part) in [
        ("reset = 'before'", "neither an `operation` nor a `plane`"),
        (
            "plane = 'disk'",
            "`plane` is \"arm\" or \"blob\", not \"disk\"",
        ),
        ("operation = 'disks.grant'\ncount = true", "grantAccess"),
        (
            "operation = 'disks.get'\nplane = 'blob'",
            "is \"arm\"; leave it out",
        ),
        (
            "plane = 'blob'",
            "it says nothing to do; add one of count, respond",
        ),
        (
            "plane = 'blob'\ntims = 3",
            "`tims` is not known; a rule has plane, operation",
        ),
        (
            "plane = 'blob'\ntimes = 'x'\ncount = true",
            "`times` is a whole number, not \"x\"",
        ),
        (
            "plane = 'blob'\nevery = 0\ncount = true",
            "`every` is a whole number above 0",
        ),
        (
            "plane = 'blob'\nprobability = 2\ncount = true",
            "from 0 to 1, not 2",
        ),
        (
            "plane = 'blob'\npath = ''\ncount = true",
            "`path` is a text that is not empty",
        ),
        (
            "plane = 'blob'\nfrom = 'soon'\ncount = true",
            "30s, 7m, 2h or 1d, or a time such as",
        ),
        (
            "plane = 'blob'\nuntil = '1s'\nfor = '1s'\ncount = true",
            "two ends",
        ),
        (
            "plane = 'blob'\nreset = 'later'",
            "`reset` is \"before\" or \"after\" or \"during\"",
        ),
        (
            "plane = 'blob'\nheader = 'a b'\ncount = true",
            "`header` is the name of a header",
        ),
        (
            "plane = 'blob'\npath = 'x'\ncut-connection = 9",
            "about connections, which have no `path`",
        ),
        (
            "plane = 'blob'\nrespond = { status = 500, code = 'X', late = 30 }",
            "`respond.late` is a span",
        ),
        (
            "plane = 'blob'\ncorrupt = true",
            "`corrupt` is \"stored\" or \"read\", not true",
        ),
        (
            "plane = 'blob'\nhalf-body = false",
            "`half-body` is true, or left out",
        ),
        (
            "plane = 'blob'\ndelay = 250",
            "`delay` is a span such as 250ms",
        ),
        (
            "plane = 'blob'\ndelay = ['2s', '1s']",
            "the shortest and the longest",
        ),
        (
            "plane = 'blob'\ndelay = '1s'\nreset = 'after'",
            "`delay` and `reset` are two actions",
        ),
        (
            "plane = 'blob'\nrespond = 503",
            "`respond` is a table with status, code",
        ),
        (
            "plane = 'blob'\nrespond.status = 503",
            "`respond.code` is missing",
        ),
        (
            "plane = 'blob'\nrespond = { code = 'X' }",
            "`respond.status` is missing",
        ),
        (
            "plane = 'blob'\nrespond = { status = 200, code = 'OK' }",
            "400 to 599, not 200",
        ),
        (
            "plane = 'blob'\nrespond = { body = 1 }",
            "`respond.body` is not known",
        ),
        (
            "plane = 'blob'\nrespond = { status = 400, code = 'X', headers = { 'a b' = 'c' } }",
            "HTTP has no header `a b: c`",
        ),
        (
            "plane = 'blob'\nfail-operation = { code = 'X' }",
            "`fail-operation` is for plane \"arm\"",
        ),
        (
            "plane = 'arm'\nfail-operation = { message = 'X' }",
            "`fail-operation.code` is missing",
        ),
        (
            "plane = 'arm'\nexpire-access = true",
            "`expire-access` is for plane \"blob\"",
        ),
        (
            "plane = 'blob'\nexpire-token = true",
            "`expire-token` is for plane \"arm\"",
        ),
        (
            "plane = 'arm'\ncorrupt = 'read'",
            "`corrupt` is for plane \"blob\"",
        ),
        (
            "plane = 'blob'\nlimit = {}",
            "`limit` has requests-per-second",
        ),
        (
            "plane = 'blob'\nlimit = { mib-per-second = 0 }",
            "`limit.mib-per-second` is a whole",
        ),
    ] {
        let faults = Faults::new();
        let text = format!("[[rule]]\nplane = 'blob'\nreset = 'before'\n[[rule]]\n{rule}\n");
        let error = faults.add_text(&text).unwrap_err();
        assert_eq!(error.rule(), Some(2), "{rule}: {error}");
        let message = error.to_string();
        assert!(
            message.starts_with("rule 2: ") && message.contains(part),
            "{rule}: {error}"
        );
        assert_eq!(faults.to_json(), json!({ "rules": [] }), "{rule}");
    }
    for (text, part) in [
        ("[[rule]\n", "no TOML"),
        ("[[rules]]\n", "`rules` is not known here"),
        ("rule = 1\n", "[[rule]] tables"),
    ] {
        let error = FaultRule::from_toml(text).unwrap_err();
        assert_eq!(error.rule(), None);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    assert!(FaultRule::from_json("[]").is_err() && FaultRule::from_json("{").is_err());
}
