//! Identities, who has which role, and what the caller may not do.

mod common;

use std::time::Duration;

use azure_nixos_emulator::Clock;
use common::{COMPUTE, Client, RESOURCES, builder, group, resource, vm, with};
use reqwest::Method;
use serde_json::{Value, json};

const IDENTITIES: &str = "2023-01-31";
const AUTHORIZATION: &str = "2022-04-01";
const READER: &str = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
const OWNER: &str = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";
const FIRST: &str = "11111111-0000-4000-8000-000000000001";
const SECOND: &str = "11111111-0000-4000-8000-000000000002";

fn identity(group: &str, name: &str) -> String {
    resource(
        group,
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        name,
    )
}

fn assignment(scope: &str, guid: &str) -> String {
    format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{guid}")
}

fn role(client: &Client, role: &str, principal: &Value) -> Value {
    json!({ "properties": {
        "roleDefinitionId": format!(
            "/subscriptions/{}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            client.subscription
        ),
        "principalId": principal,
    }})
}

async fn make_identity(client: &Client, name: &str) -> Value {
    let made = client
        .put(
            &identity("rg", name),
            IDENTITIES,
            json!({ "location": "West US 2" }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.body
}

#[tokio::test]
async fn an_identity_is_made_at_once_with_a_relative_location() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("Rg").await;
    let path = identity("rg", "web");
    let body = json!({ "location": "westus2", "tags": { "a": "b" } });
    let made = client.put(&path, IDENTITIES, body.clone()).await;
    assert_eq!(made.status, 201);
    assert!(made.header("azure-asyncoperation").is_none());
    let expected = format!(
        "/subscriptions/{}/resourcegroups/Rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web",
        client.subscription
    );
    assert_eq!(made.header("location"), Some(expected.as_str()));
    assert_eq!(made.body["id"], expected);
    assert_eq!(made.body["properties"]["tenantId"], emulator.tenant_id());
    let principal = made.body["properties"]["principalId"].clone();
    assert_ne!(principal, made.body["properties"]["clientId"]);

    // Again it is the same one, with other tags.
    let again = client
        .put(&path, IDENTITIES, json!({ "location": "westus2" }))
        .await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body["properties"], made.body["properties"]);
    assert_eq!(again.body["tags"], json!({}));
    let patched = client
        .call(
            "PATCH",
            &path,
            IDENTITIES,
            Some(json!({ "tags": { "c": "d" } })),
        )
        .await;
    assert_eq!(patched.body["tags"], json!({ "c": "d" }));
    assert_eq!(client.get(&path, IDENTITIES).await.body, patched.body);
    for list in [
        "/providers/Microsoft.ManagedIdentity/userAssignedIdentities".to_owned(),
        "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities".to_owned(),
    ] {
        let listed = client.get(&list, IDENTITIES).await.body;
        assert_eq!(listed["value"], json!([patched.body]), "{list}");
    }

    let credentials = format!("{path}/federatedIdentityCredentials");
    let credential = json!({ "properties": {
        "issuer": "https://issuer", "subject": "s", "audiences": ["api://x"],
    }});
    let one = format!("{credentials}/ci");
    let made = client.put(&one, IDENTITIES, credential.clone()).await;
    assert_eq!((made.status, &made.body["name"]), (201, &json!("ci")));
    assert_eq!(
        client
            .put(&one, IDENTITIES, credential.clone())
            .await
            .status,
        200
    );
    let twin = client
        .put(&format!("{credentials}/cd"), IDENTITIES, credential.clone())
        .await;
    assert_eq!(twin.error().0, 409);
    let missing = with(credential, "/properties/subject", Value::Null);
    assert_eq!(client.put(&one, IDENTITIES, missing).await.status, 400);
    let listed = client.get(&credentials, IDENTITIES).await.body;
    assert_eq!(listed["value"], json!([made.body]));

    assert_eq!(client.delete(&path, IDENTITIES).await.status, 200);
    assert_eq!(client.delete(&path, IDENTITIES).await.status, 204);
    assert_eq!(
        client.get(&one, IDENTITIES).await.error(),
        (404, "ResourceNotFound")
    );
    // What belonged to it does not come back with another of its name.
    make_identity(&client, "web").await;
    assert_eq!(
        client.get(&one, IDENTITIES).await.error(),
        (404, "NotFound")
    );
    emulator.stop().await;
}

#[tokio::test]
async fn a_role_is_assigned_once_and_goes_with_its_scope() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let principal = make_identity(&client, "web").await["properties"]["principalId"].clone();
    let at_group = assignment(&group("rg"), FIRST);
    let body = role(&client, READER, &principal);

    let made = client.put(&at_group, AUTHORIZATION, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["properties"]["createdBy"], Value::Null);
    assert_eq!(made.body["properties"]["principalType"], "ServicePrincipal");
    let scope = format!("/subscriptions/{}/resourceGroups/rg", client.subscription);
    assert_eq!(made.body["properties"]["scope"], scope);
    let shown = client.get(&at_group, AUTHORIZATION).await;
    assert!(shown.body["properties"]["createdBy"].is_string());
    // The same again may say more about it, but not be about another.
    let described = with(body.clone(), "/properties/description", json!("why"));
    let again = client.put(&at_group, AUTHORIZATION, described).await;
    assert_eq!(
        (again.status, &again.body["properties"]["description"]),
        (201, &json!("why"))
    );
    for (path, body, status, code) in [
        (
            assignment(&group("rg"), SECOND),
            body.clone(),
            409,
            "RoleAssignmentExists",
        ),
        (
            at_group.clone(),
            role(&client, OWNER, &principal),
            409,
            "RoleAssignmentUpdateNotPermitted",
        ),
        (
            assignment(&group("rg"), "web"),
            body.clone(),
            400,
            "InvalidRoleAssignmentId",
        ),
        (
            assignment(&group("rg"), SECOND),
            role(&client, FIRST, &principal),
            400,
            "RoleDefinitionDoesNotExist",
        ),
        (
            assignment(&group("rg"), SECOND),
            role(&client, OWNER, &json!(FIRST)),
            400,
            "PrincipalNotFound",
        ),
        (
            assignment(&group("none"), SECOND),
            body.clone(),
            404,
            "ResourceGroupNotFound",
        ),
        (
            assignment(&identity("rg", "none"), SECOND),
            body.clone(),
            404,
            "ResourceNotFound",
        ),
    ] {
        let refused = client.put(&path, AUTHORIZATION, body).await;
        assert_eq!(refused.error(), (status, code), "{}", refused.body);
    }

    // At the subscription and at a resource the same role is another assignment.
    for scope in [String::new(), identity("rg", "web")] {
        let made = client
            .put(&assignment(&scope, FIRST), AUTHORIZATION, body.clone())
            .await;
        assert_eq!(made.status, 201, "{scope}: {}", made.body);
    }
    let count = async |scope: &str, filter: &str| {
        let path =
            format!("{scope}/providers/Microsoft.Authorization/roleAssignments?$filter={filter}");
        let listed = client.get(&path, AUTHORIZATION).await;
        listed.body["value"].as_array().map(Vec::len)
    };
    assert_eq!(count(&group("rg"), "").await, Some(3));
    assert_eq!(count(&group("rg"), "atScope()").await, Some(2));
    let to = format!(
        "atScope()%20and%20assignedTo('{}')",
        principal.as_str().unwrap()
    );
    assert_eq!(count("", &to).await, Some(1));
    assert_eq!(
        count("", &format!("principalId%20eq%20'{FIRST}'")).await,
        Some(0)
    );
    assert_eq!(count("", "createdOn").await, None);

    // An identity leaves its assignments behind, save those at itself.
    assert_eq!(
        client
            .delete(&identity("rg", "web"), IDENTITIES)
            .await
            .status,
        200
    );
    assert_eq!(count("", "").await, Some(2));
    let gone = client.delete(&at_group, AUTHORIZATION).await;
    assert_eq!((gone.status, &gone.body["name"]), (200, &json!(FIRST)));
    assert_eq!(client.delete(&at_group, AUTHORIZATION).await.status, 204);
    let typed = with(
        body.clone(),
        "/properties/principalType",
        json!("ServicePrincipal"),
    );
    assert_eq!(
        client.put(&at_group, AUTHORIZATION, typed).await.status,
        201
    );
    let deleted = client.delete(&group("rg"), RESOURCES).await;
    client.succeed(deleted).await;
    assert_eq!(count("", "").await, Some(1));
    emulator.stop().await;
}

#[tokio::test]
async fn roles_and_principals_are_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let made = make_identity(&client, "web").await;
    let roles = "/providers/Microsoft.Authorization/roleDefinitions";
    let found = client
        .get(
            &format!("{}{roles}?$filter=roleName%20eq%20'reader'", group("rg")),
            AUTHORIZATION,
        )
        .await
        .body;
    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    assert_eq!(found["value"][0]["name"], READER);
    assert_eq!(found["value"][0]["properties"]["roleName"], "Reader");
    assert_eq!(
        found["value"][0]["id"],
        format!("/subscriptions/{}{roles}/{READER}", client.subscription)
    );
    let one = client.get(&format!("{roles}/{OWNER}"), AUTHORIZATION).await;
    assert_eq!(
        one.body["properties"]["permissions"][0]["actions"],
        json!(["*"])
    );
    let tenant = format!("{}{roles}/{OWNER}?api-version={AUTHORIZATION}", client.base);
    let answer = client.send(Method::GET, &tenant, None).await;
    assert_eq!(answer.body["properties"]["roleName"], "Owner");

    let app = made["properties"]["clientId"].as_str().unwrap();
    let graph = format!(
        "{}/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c%20eq%20'{app}')",
        client.base
    );
    let found = client.send(Method::GET, &graph, None).await.body;
    assert_eq!(found["value"][0]["id"], made["properties"]["principalId"]);
    assert_eq!(found["value"][0]["servicePrincipalType"], "ManagedIdentity");
    let ids = format!("{}/v1.0/directoryObjects/getByIds", client.base);
    let asked = json!({ "ids": [made["properties"]["principalId"], FIRST] });
    let found = client.send(Method::POST, &ids, Some(asked)).await.body;
    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    let me = format!(
        "{}/v1.0/servicePrincipals?$filter=appId%20eq%20'{}'",
        client.base,
        emulator.client_id()
    );
    let found = client.send(Method::GET, &me, None).await.body;
    assert_eq!(found["value"][0]["servicePrincipalType"], "Application");
    let tenants = format!("{}/tenants?api-version=2022-12-01", client.base);
    let found = client.send(Method::GET, &tenants, None).await.body;
    assert_eq!(found["value"][0]["tenantId"], emulator.tenant_id());
    emulator.stop().await;
}

#[tokio::test]
async fn a_new_principal_is_not_known_at_once() {
    for despite_type in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::new();
        let emulator = builder(dir.path())
            .clock(clock.clone())
            .role_replication(Duration::from_secs(60))
            .role_replication_despite_type(despite_type)
            .start()
            .await
            .unwrap();
        let client = Client::new(&emulator);
        client.make_group("rg").await;
        let made = make_identity(&client, "web").await;
        let principal = &made["properties"]["principalId"];
        let path = assignment(&group("rg"), FIRST);
        let body = role(&client, READER, principal);
        let refused = client.put(&path, AUTHORIZATION, body.clone()).await;
        assert_eq!(refused.error(), (400, "PrincipalNotFound"));
        let message = refused.body["error"]["message"].as_str().unwrap();
        let plain = principal.as_str().unwrap().replace('-', "");
        assert!(message.starts_with(&format!(
            "Principal {plain} does not exist in the directory"
        )));
        let typed = with(body, "/properties/principalType", json!("ServicePrincipal"));
        let answer = client.put(&path, AUTHORIZATION, typed.clone()).await;
        if despite_type {
            assert_eq!(answer.error(), (400, "PrincipalNotFound"));
            clock.advance(Duration::from_secs(59));
            let refused = client.put(&path, AUTHORIZATION, typed.clone()).await;
            assert_eq!(refused.status, 400);
            clock.advance(Duration::from_secs(2));
            assert_eq!(client.put(&path, AUTHORIZATION, typed).await.status, 201);
        } else {
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
        emulator.stop().await;
    }
}

#[tokio::test]
async fn what_is_denied_is_forbidden_and_the_rest_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path())
        .deny("Microsoft.Authorization/roleAssignments/write")
        .deny("Microsoft.Compute/*/delete")
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let made = make_identity(&client, "web").await;
    let path = assignment(&group("rg"), FIRST);
    let body = role(&client, READER, &made["properties"]["principalId"]);
    let refused = client.put(&path, AUTHORIZATION, body).await;
    assert_eq!(refused.error(), (403, "AuthorizationFailed"));
    assert_eq!(refused.header("x-ms-failure-cause"), Some("gateway"));
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("action 'Microsoft.Authorization/roleAssignments/write' over scope")
            && message.contains(&emulator.client_id()),
        "{message}"
    );
    assert_eq!(client.get(&path, AUTHORIZATION).await.status, 404);
    assert_eq!(client.delete(&vm("rg", "x"), COMPUTE).await.status, 403);
    assert_eq!(client.get(&vm("rg", "x"), COMPUTE).await.status, 404);
    emulator.stop().await;
}

#[tokio::test]
async fn identities_of_machines_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "os").await;
    client.make_image("rg", "nixos", "os").await;
    client.make_network("rg", "web").await;
    let (one, two) = (
        make_identity(&client, "one").await,
        make_identity(&client, "two").await,
    );
    let id = |name: &str| {
        client.id(
            "rg",
            "Microsoft.ManagedIdentity/userAssignedIdentities",
            name,
        )
    };
    let who = |identity: &Value| {
        json!({
            "principalId": identity["properties"]["principalId"],
            "clientId": identity["properties"]["clientId"],
        })
    };
    let machine = client.vm("rg", "web", "nixos");
    let given = |identity: Value| with(machine.clone(), "/identity", identity);
    let path = vm("rg", "web");
    for (identity, code) in [
        (
            json!({ "type": "UserAssigned", "userAssignedIdentities": { id("none"): {} } }),
            "FailedIdentityOperation",
        ),
        (json!({ "type": "UserAssigned" }), "InvalidParameter"),
        (
            json!({ "type": "SystemAssigned", "userAssignedIdentities": { id("one"): {} } }),
            "InvalidParameter",
        ),
    ] {
        let refused = client.put(&path, COMPUTE, given(identity)).await;
        assert_eq!(refused.error(), (400, code), "{}", refused.body);
    }
    let made = client
        .put(
            &path,
            COMPUTE,
            given(json!({
                "type": "SystemAssigned,UserAssigned",
                "userAssignedIdentities": { id("one"): {} },
            })),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(
        made.body["identity"]["userAssignedIdentities"],
        json!({ id("one"): {} })
    );
    let principal = made.body["identity"]["principalId"].clone();
    assert!(principal.is_string());
    client.succeed(made).await;
    let shown = async || client.get(&path, COMPUTE).await.body["identity"].clone();
    assert_eq!(
        shown().await,
        json!({
            "type": "SystemAssigned, UserAssigned",
            "principalId": principal,
            "tenantId": emulator.tenant_id(),
            "userAssignedIdentities": { id("one"): who(&one) },
        })
    );
    // The machine's own identity can be given a role.
    let assigned = client
        .put(
            &assignment(&group("rg"), FIRST),
            AUTHORIZATION,
            role(&client, READER, &principal),
        )
        .await;
    assert_eq!(assigned.status, 201, "{}", assigned.body);

    let patch = async |identity: Value| {
        let begun = client
            .call(
                "PATCH",
                &path,
                COMPUTE,
                Some(json!({ "identity": identity })),
            )
            .await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        client.succeed(begun).await;
    };
    // A PATCH adds, and takes away what it gives as null.
    patch(json!({
        "type": "SystemAssigned, UserAssigned",
        "userAssignedIdentities": { id("two"): {} },
    }))
    .await;
    assert_eq!(
        shown().await["userAssignedIdentities"],
        json!({ id("one"): who(&one), id("two"): who(&two) })
    );
    patch(json!({
        "type": "UserAssigned",
        "userAssignedIdentities": { id("one"): null },
    }))
    .await;
    assert_eq!(
        shown().await,
        json!({
            "type": "UserAssigned",
            "userAssignedIdentities": { id("two"): who(&two) },
        })
    );
    // Its own principal is gone from the directory.
    let graph = format!(
        "{}/v1.0/servicePrincipals/{}",
        client.base,
        principal.as_str().unwrap()
    );
    assert_eq!(client.send(Method::GET, &graph, None).await.status, 404);
    patch(json!({ "type": "None" })).await;
    assert_eq!(shown().await, Value::Null);
    emulator.stop().await;
}
