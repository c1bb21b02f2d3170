//! The little XML that requests have.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::super::refusal::Refusal;

pub(super) fn invalid() -> Refusal {
    Refusal::bad_request(
        "InvalidXmlDocument",
        "XML specified is not syntactically valid.",
    )
}

/// The elements of a document, in the order in which they begin: the names down to each, and the
/// text directly in it without the white space around it.
pub(super) fn elements(document: &str) -> Result<Vec<(Vec<String>, String)>, Refusal> {
    let document = document.trim_start_matches('\u{feff}');
    let mut reader = Reader::from_str(document);
    reader.config_mut().expand_empty_elements = true;
    let mut found: Vec<(Vec<String>, String)> = Vec::new();
    // Where the elements that are open are in `found`.
    let mut open: Vec<usize> = Vec::new();
    loop {
        match reader.read_event().map_err(|_| invalid())? {
            Event::Start(start) => {
                if open.is_empty() && !found.is_empty() {
                    return Err(invalid());
                }
                let name = std::str::from_utf8(start.local_name().into_inner())
                    .map_err(|_| invalid())?
                    .to_owned();
                let mut path = open
                    .last()
                    .map(|parent| found[*parent].0.clone())
                    .unwrap_or_default();
                path.push(name);
                open.push(found.len());
                found.push((path, String::new()));
            }
            Event::End(_) => {
                let closed = open.pop().ok_or_else(invalid)?;
                let text = &mut found[closed].1;
                *text = text.trim().to_owned();
            }
            Event::Text(text) => {
                if let Some(at) = open.last() {
                    found[*at]
                        .1
                        .push_str(&text.decode().map_err(|_| invalid())?);
                }
            }
            Event::GeneralRef(reference) => {
                let at = open.last().ok_or_else(invalid)?;
                let character = match reference.resolve_char_ref().map_err(|_| invalid())? {
                    Some(character) => character,
                    None => match &*reference.decode().map_err(|_| invalid())? {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return Err(invalid()),
                    },
                };
                found[*at].1.push(character);
            }
            Event::CData(text) => {
                let at = open.last().ok_or_else(invalid)?;
                let text = text.decode().map_err(|_| invalid())?;
                found[*at].1.push_str(&text);
            }
            Event::Eof if open.is_empty() && !found.is_empty() => return Ok(found),
            Event::Eof | Event::DocType(_) => return Err(invalid()),
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_in_their_order_with_their_text() {
        let found = elements(
            "\u{feff}<?xml version='1.0'?>\n<a><b> 1 &amp; 2</b><c/><d><e>&#x41;<![CDATA[<]]></e></d></a>",
        )
        .unwrap();
        let found: Vec<(String, &str)> = found
            .iter()
            .map(|(path, text)| (path.join("/"), text.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("a".to_owned(), ""),
                ("a/b".to_owned(), "1 & 2"),
                ("a/c".to_owned(), ""),
                ("a/d".to_owned(), ""),
                ("a/d/e".to_owned(), "A<"),
            ]
        );
        for bad in [
            "",
            "a",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a>&x;</a>",
            "<!DOCTYPE a><a/>",
        ] {
            elements(bad).unwrap_err();
        }
    }
}
