//! Lists in pages. Azure cuts its lists at sizes of its own choice; here none is cut unless a size
//! was asked for, which a test of a client does.
//!
//! A page is found by the item before it, not by a number: one that is deleted between two pages
//! takes none of the others with it.

use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::answer::{Answer, Result};
use super::call::Call;
use super::error::ArmError;

/// The page of a list that a request asks for, with the link to the next. Other answers stay as
/// they are.
pub(super) fn cut(
    call: &Call,
    base: &str,
    size: Option<NonZeroUsize>,
    mut answer: Answer,
) -> Result {
    let (Some(size), true) = (size, call.method == "GET") else {
        return Ok(answer);
    };
    // What an operation gave back is no list, whatever it looks like.
    let is_operation = call
        .segments
        .get(4)
        .is_some_and(|part| part.eq_ignore_ascii_case("locations"))
        && call.segments.len() > 7;
    let items = answer
        .body
        .as_mut()
        .and_then(|body| body.get_mut("value"))
        .and_then(Value::as_array_mut);
    let (Some(items), false) = (items, is_operation) else {
        return Ok(answer);
    };
    if let Some(token) = call.query("$skiptoken") {
        let after = read(token).ok_or_else(|| {
            ArmError::gateway(
                400,
                "InvalidSkipToken",
                format!("The skip token '{token}' is not one that was given out."),
            )
        })?;
        let at = items
            .iter()
            .position(|item| key(item) == after)
            .map(|at| at + 1)
            .or_else(|| items.iter().position(|item| key(item) > after))
            .unwrap_or(items.len());
        items.drain(..at);
    }
    if items.len() <= size.get() {
        return Ok(answer);
    }
    items.truncate(size.get());
    let last = items.last().map(key).unwrap_or_default();
    let link = link(call, base, &last);
    if let Some(body) = answer.body.as_mut() {
        body["nextLink"] = json!(link);
    }
    Ok(answer)
}

/// What an item of a list is found by.
fn key(item: &Value) -> String {
    let name = &item["name"];
    [&item["id"], name, &name["value"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// The URL of the request with another skip token.
fn link(call: &Call, base: &str, last: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &call.query {
        if !name.eq_ignore_ascii_case("$skiptoken") {
            query.append_pair(name, value);
        }
    }
    query.append_pair("$skiptoken", &URL_SAFE_NO_PAD.encode(last));
    format!("{base}{}?{}", call.path, query.finish())
}

fn read(token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, Uri};
    use bytes::Bytes;

    use super::*;

    fn list(names: &[&str]) -> Answer {
        let items: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        Answer::json(200, json!({ "value": items }))
    }

    fn page(path_and_query: &str, names: &[&str]) -> (Vec<String>, Option<String>) {
        let uri: Uri = path_and_query.parse().unwrap();
        let call = Call::new(Method::GET, &uri, None, Bytes::new());
        let body = cut(&call, "https://b", NonZeroUsize::new(2), list(names))
            .unwrap()
            .body
            .unwrap();
        let shown = body["value"].as_array().unwrap();
        let shown = shown
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned());
        let next = body["nextLink"].as_str().map(|link| {
            let (base, rest) = link.split_at("https://b".len());
            assert_eq!(base, "https://b");
            rest.to_owned()
        });
        (shown.collect(), next)
    }

    #[test]
    fn pages_are_complete_even_if_something_goes_in_between() {
        let path = "/subscriptions/s/resourceGroups?api-version=1&$filter=a%20b";
        let (first, next) = page(path, &["a", "b", "c", "d", "e"]);
        assert_eq!(first, ["a", "b"]);
        let next = next.unwrap();
        assert!(
            next.contains("api-version=1") && next.contains("filter=a+b"),
            "{next}"
        );
        assert_eq!(page(&next, &["a", "b", "c", "d", "e"]).0, ["c", "d"]);
        // The last of the page before is gone.
        let (second, last) = page(&next, &["c", "d", "e"]);
        assert_eq!(second, ["c", "d"]);
        let last = last.unwrap();
        assert_eq!(last.matches("skiptoken").count(), 1, "{last}");
        assert_eq!(page(&last, &["c", "d", "e"]), (vec!["e".to_owned()], None));
        assert_eq!(page(path, &["a", "b"]).1, None);
    }

    #[test]
    fn a_made_up_token_is_refused() {
        let uri: Uri = "/subscriptions?$skiptoken=%20".parse().unwrap();
        let call = Call::new(Method::GET, &uri, None, Bytes::new());
        let refused = cut(&call, "", NonZeroUsize::new(1), list(&["a"])).unwrap_err();
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (400, "InvalidSkipToken")
        );
    }
}
