//! Who is let in: keys, signatures, tokens, everybody.

use std::time::Duration;

use super::*;
use crate::blob::Options;
use crate::blob::dates;
use crate::blob::tests::{client, serve};
use crate::clock::Clock;
use crate::fault::Faults;
use crate::login;
use crate::state::Identity;

/// A request signed with a key, without a body. `more` are further `x-ms-` headers.
fn shared_key(
    account: &Account,
    key: &str,
    path: &str,
    pairs: &[(&str, &str)],
    more: &[(&'static str, &str)],
) -> RequestBuilder {
    let date = dates::http_date(dates::ticks(account.local.clock.now()));
    let mut headers = vec![("x-ms-date", date.as_str()), ("x-ms-version", VERSION)];
    headers.extend(more);
    headers.sort_unstable();
    let own: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable();
    let resource: String = sorted
        .iter()
        .map(|(name, value)| format!("\n{name}:{value}"))
        .collect();
    let signed = format!("GET\n\n\n\n\n\n\n\n\n\n\n\n{own}/{ACCOUNT}/{ACCOUNT}{path}{resource}");
    let signature = hmac(key, &signed);
    let mut request = account
        .local
        .client
        .get(account.url(path, &query(pairs)))
        .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

#[tokio::test]
async fn either_key_signs_until_it_is_replaced() {
    let account = Account::start().await;
    let list = [
        ("restype", "container"),
        ("comp", "list"),
        ("prefix", "a b&="),
    ];
    for key in &account.keys {
        let request = shared_key(
            &account,
            key,
            "/vhds",
            &list,
            &[("x-ms-client-request-id", "x")],
        );
        account.done(request, 200).await;
    }
    let failed = "AuthenticationFailed";
    let old = account.keys[0].clone();
    let keys = account.local.blobs.regenerate_key(ACCOUNT, 0).unwrap();
    assert_ne!(keys[0], old);
    assert_eq!(keys[1], account.keys[1]);
    let request = shared_key(&account, &old, "/vhds", &list, &[]);
    account.refused("old", request, 403, failed).await;
    account
        .done(shared_key(&account, &keys[0], "/vhds", &list, &[]), 200)
        .await;
    let by_sas = account.container(Method::GET, "vhds", "comp=list");
    account.refused("old sas", by_sas, 403, failed).await;

    let good = || shared_key(&account, &keys[1], "/vhds", &list, &[]);
    let tampered = good().header("x-ms-meta-a", "1");
    account.refused("tampered", tampered, 403, failed).await;
    let early = good();
    account.local.clock.advance(Duration::from_secs(16 * 60));
    let body = account.refused("old date", early, 403, failed).await;
    assert!(body.contains("Request date header too old"), "{body}");
    account.done(good(), 200).await;
    let named = |authorization: &str| {
        account
            .local
            .client
            .get(account.url("/vhds", "restype=container"))
            .header("x-ms-version", VERSION)
            .header(
                "x-ms-date",
                dates::http_date(dates::ticks(account.local.clock.now())),
            )
            .header("authorization", authorization.to_owned())
    };
    for (authorization, status, code) in [
        ("SharedKey web2:AAAA", 403, failed),
        ("SharedKey web1:***", 403, failed),
        ("SharedKey web1", 400, "InvalidAuthenticationInfo"),
        ("Basic x", 400, "InvalidAuthenticationInfo"),
        ("SharedKeyLite web1:AAAA", 501, "NotImplemented"),
    ] {
        account
            .refused(authorization, named(authorization), status, code)
            .await;
    }
    account
        .local
        .blobs
        .set_account_access(ACCOUNT, false, false)
        .unwrap();
    account
        .refused("no keys", good(), 403, "KeyBasedAuthenticationNotPermitted")
        .await;
}

/// The fields of a service signature: `sp`, `st`, `se`, `si`, `sip`, `spr`, `sr`.
fn service_sas(key: &str, resource: &str, fields: [&str; 7], version: &str) -> String {
    let [sp, st, se, si, sip, spr, sr] = fields;
    let mut lines = vec![sp, st, se, resource, si, sip, spr, version];
    if version >= "2018-11-09" {
        lines.extend([sr, ""]);
    }
    if version >= "2020-12-06" {
        lines.push("");
    }
    lines.extend(["", "", "", "", ""]);
    let signature = hmac(key, &lines.join("\n"));
    let names = ["sp", "st", "se", "si", "sip", "spr", "sr"];
    let mut pairs: Vec<_> = names
        .into_iter()
        .zip(fields)
        .filter(|(_, value)| !value.is_empty())
        .collect();
    pairs.extend([("sv", version), ("sig", &signature)]);
    query(&pairs)
}

const LATER: &str = "2999-01-01";

#[tokio::test]
async fn a_signature_opens_what_it_is_for() {
    let account = Account::start().await;
    for name in ["b", "other"] {
        account
            .done(account.create(&format!("/vhds/{name}"), 512), 201)
            .await;
    }
    let key = &account.keys[1];
    let get = |path: &str, sas: &str| account.local.client.get(account.url(path, sas));
    let blob = |fields| service_sas(key, "/blob/web1/vhds/b", fields, VERSION);
    let container = |fields| service_sas(key, "/blob/web1/vhds", fields, VERSION);
    for version in [
        "2015-04-05",
        "2018-03-28",
        "2018-11-09",
        "2020-10-02",
        VERSION,
        "2026-04-06",
    ] {
        let fields = ["r", "", LATER, "", "", "", "b"];
        let sas = service_sas(key, "/blob/web1/vhds/b", fields, version);
        account.done(get("/vhds/b", &sas), 200).await;
    }
    let failed = "AuthenticationFailed";
    let denied = "AuthorizationPermissionMismatch";
    let read = blob(["r", "", LATER, "", "", "", "b"]);
    let list = container(["rl", "2020-01-01T00:00Z", LATER, "", "", "", "c"]);
    account.done(get("/vhds/other", &list), 200).await;
    account
        .done(
            get("/vhds", &format!("{list}&restype=container&comp=list")),
            200,
        )
        .await;
    let here = "127.0.0.0-127.0.0.255";
    let within = blob(["r", "", LATER, "", here, "https,http", "b"]);
    account.done(get("/vhds/b", &within), 200).await;
    for (what, path, sas, status, code) in [
        ("another blob", "/vhds/other", read.clone(), 403, failed),
        (
            "more",
            "/vhds/b",
            read.replace("sp=r", "sp=rw"),
            403,
            failed,
        ),
        (
            "longer",
            "/vhds/b",
            read.replace("2999", "3999"),
            403,
            failed,
        ),
        (
            "garbled",
            "/vhds/b",
            read.replace("sig=", "sig=A"),
            403,
            failed,
        ),
        (
            "no permission",
            "/vhds/b",
            blob(["w", "", LATER, "", "", "", "b"]),
            403,
            denied,
        ),
        (
            "over",
            "/vhds/b",
            blob(["r", "", "2020-01-01", "", "", "", "b"]),
            403,
            failed,
        ),
        (
            "not yet",
            "/vhds/b",
            blob(["r", LATER, "3000-01-01", "", "", "", "b"]),
            403,
            failed,
        ),
        (
            "no end",
            "/vhds/b",
            blob(["r", "", "", "", "", "", "b"]),
            403,
            failed,
        ),
        (
            "no policy",
            "/vhds/b",
            blob(["r", "", LATER, "p", "", "", "b"]),
            403,
            failed,
        ),
        (
            "address",
            "/vhds/b",
            blob(["r", "", LATER, "", "10.0.0.1", "", "b"]),
            403,
            "AuthorizationSourceIPMismatch",
        ),
        (
            "protocol",
            "/vhds/b",
            blob(["r", "", LATER, "", "", "https", "b"]),
            403,
            "AuthorizationProtocolMismatch",
        ),
        (
            "list of a blob's",
            "/vhds",
            format!("{read}&restype=container&comp=list"),
            403,
            failed,
        ),
        (
            "container",
            "/vhds",
            format!("{list}&restype=container"),
            403,
            denied,
        ),
        (
            "directory",
            "/vhds/b",
            blob(["r", "", LATER, "", "", "", "d"]),
            501,
            "NotImplemented",
        ),
    ] {
        account.refused(what, get(path, &sas), status, code).await;
    }

    // To create is not to overwrite.
    let put = |path: &str, sas: &str| {
        account
            .local
            .client
            .put(account.url(path, sas))
            .header("x-ms-version", VERSION)
            .header("x-ms-blob-type", "PageBlob")
            .header("x-ms-blob-content-length", 512)
            .header("content-length", 0)
    };
    let create = container(["c", "", LATER, "", "", "", "c"]);
    account.done(put("/vhds/new", &create), 201).await;
    account
        .refused("overwrite", put("/vhds/new", &create), 403, denied)
        .await;

    let by_account =
        |permissions, services, types, more| account_sas(key, permissions, services, types, more);
    let props = "&restype=container";
    for (what, sas, status, code) in [
        (
            "services",
            by_account("r", "q", "sco", ["", ""]),
            403,
            "AuthorizationServiceMismatch",
        ),
        (
            "types",
            by_account("r", "b", "so", ["", ""]),
            403,
            "AuthorizationResourceTypeMismatch",
        ),
        ("letters", by_account("w", "b", "c", ["", ""]), 403, denied),
        ("start", by_account("r", "b", "c", [LATER, ""]), 403, failed),
        (
            "https",
            by_account("r", "b", "c", ["", "https"]),
            403,
            "AuthorizationProtocolMismatch",
        ),
    ] {
        let request = get("/vhds", &format!("{sas}{props}"));
        account.refused(what, request, status, code).await;
    }
}

#[tokio::test]
async fn a_stored_policy_says_what_a_signature_leaves_out() {
    let account = Account::start().await;
    account.done(account.create("/vhds/b", 512), 201).await;
    let set = |policies: &str| {
        let body = format!("<SignedIdentifiers>{policies}</SignedIdentifiers>");
        let pairs = [("restype", "container"), ("comp", "acl")];
        let date = dates::http_date(dates::ticks(account.local.clock.now()));
        let signed = format!(
            "PUT\n\n\n{}\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/vhds\ncomp:acl\nrestype:container",
            body.len()
        );
        let signature = hmac(&account.keys[0], &signed);
        account
            .local
            .client
            .put(account.url("/vhds", &query(&pairs)))
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
            .header("x-ms-date", date)
            .header("x-ms-version", VERSION)
            .body(body)
    };
    let policy = "<SignedIdentifier><Id>p</Id><AccessPolicy><Expiry>2999-01-01</Expiry><Permission>r</Permission></AccessPolicy></SignedIdentifier>";
    account.done(set(policy), 200).await;
    let pairs = [("restype", "container"), ("comp", "acl")];
    let found = shared_key(&account, &account.keys[0], "/vhds", &pairs, &[]);
    let found = account.done(found, 200).await.text().await.unwrap();
    assert!(found.contains(policy), "{found}");
    let signed = |fields| service_sas(&account.keys[0], "/blob/web1/vhds/b", fields, VERSION);
    let get = |sas: &str| account.local.client.get(account.url("/vhds/b", sas));
    let good = signed(["", "", "", "p", "", "", "b"]);
    account.done(get(&good), 200).await;
    let failed = "AuthenticationFailed";
    let twice = signed(["r", "", "", "p", "", "", "b"]);
    account.refused("twice", get(&twice), 403, failed).await;
    account.done(set(""), 200).await;
    account.refused("gone", get(&good), 403, failed).await;
    // No signature allows saying who may do what.
    let by_sas = account.container(Method::PUT, "vhds", "comp=acl");
    account
        .refused("by sas", by_sas, 403, "AuthorizationPermissionMismatch")
        .await;
}

#[tokio::test]
async fn everybody_sees_what_is_public_and_nothing_else() {
    let account = Account::start().await;
    account.done(account.create("/vhds/b", 512), 201).await;
    let anonymous = |path: &str, version: Option<&'static str>| {
        let request = account.local.client.get(account.url(path, ""));
        match version {
            Some(version) => request.header("x-ms-version", version),
            None => request,
        }
    };
    let challenged = anonymous("/vhds/b", Some(VERSION)).send().await.unwrap();
    assert!(header(&challenged, "www-authenticate").starts_with("Bearer authorization_uri="));
    refused("new", challenged, 401, "NoAuthenticationInformation").await;
    account
        .refused(
            "old",
            anonymous("/vhds/b", None),
            409,
            "PublicAccessNotPermitted",
        )
        .await;
    account
        .local
        .blobs
        .set_account_access(ACCOUNT, true, true)
        .unwrap();
    account
        .refused(
            "private",
            anonymous("/vhds/b", None),
            404,
            "ResourceNotFound",
        )
        .await;
    let public = account
        .container(Method::PUT, "open", "")
        .header("x-ms-blob-public-access", "blob");
    account.done(public, 201).await;
    account.done(account.create("/open/b", 512), 201).await;
    account.done(anonymous("/open/b", None), 200).await;
    let list = account
        .local
        .client
        .get(account.url("/open", "restype=container&comp=list"));
    account.refused("list", list, 404, "ResourceNotFound").await;
}

#[tokio::test]
async fn a_token_for_storage_opens_everything() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity {
        tenant_id: uuid::Uuid::new_v4(),
        subscription_id: uuid::Uuid::new_v4(),
        client_id: uuid::Uuid::new_v4(),
        object_id: uuid::Uuid::new_v4(),
        client_secret: "secret".to_owned(),
        signing_key: "key".to_owned(),
    };
    let options = Options {
        identity: Some(identity.clone()),
        ..Options::default()
    };
    let clock = Clock::new();
    let blobs =
        crate::blob::PageBlobs::open(dir.path(), clock.clone(), Faults::new(), options).unwrap();
    blobs.create_account(ACCOUNT).unwrap();
    let address = serve(&blobs).await;
    let list = |token: String| {
        client()
            .get(format!("http://{address}/{ACCOUNT}?comp=list"))
            .header("x-ms-version", VERSION)
            .header("authorization", format!("Bearer {token}"))
    };
    let token = |audience| login::token(&identity, "https://localhost", audience, clock.now());
    for audience in [
        "https://storage.azure.com",
        "https://storage.azure.com/",
        "https://web1.blob.core.windows.net",
    ] {
        let answer = list(token(audience)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{audience}");
    }
    let late = token("https://storage.azure.com");
    let wrong = "InvalidAuthenticationInfo";
    for (what, token) in [
        ("audience", token("https://management.azure.com")),
        ("garbled", format!("{late}A")),
        ("nothing", "x".to_owned()),
    ] {
        refused(what, list(token).send().await.unwrap(), 401, wrong).await;
    }
    clock.advance(Duration::from_secs(3600));
    refused("late", list(late).send().await.unwrap(), 401, wrong).await;
}
