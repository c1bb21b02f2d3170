//! What Nix says while it works: the lines of `--log-format internal-json` as typed events.
//!
//! The numbers come from Nix's `logging.hh`; they have not changed since the format exists, and
//! unknown ones are passed over.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::log::BuildLogs;

/// How urgent a message of Nix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MessageLevel {
    /// It failed, or somebody used `builtins.trace`.
    Error,
    /// It works, and something is not as it should be.
    Warning,
    /// What a person wants to know.
    Notice,
    /// What Nix says without being asked for more.
    Info,
    /// Everything below that.
    Debug,
}

/// Something that happened while Nix worked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NixEvent {
    /// Expressions are being read; nothing is built yet.
    Evaluating {
        /// What is evaluated, as the user named it.
        what: String,
    },
    /// A build has begun.
    Building {
        /// The `.drv` file.
        derivation: String,
    },
    /// A build is over, well or not.
    Built {
        /// The `.drv` file.
        derivation: String,
    },
    /// How many builds are done.
    Builds {
        /// Finished well.
        done: u64,
        /// All that are needed, as far as is known now.
        total: u64,
        /// Under way.
        running: u64,
        /// Failed.
        failed: u64,
    },
    /// A store path is being copied, or fetched from a cache.
    Copying {
        /// The store path.
        path: String,
    },
    /// A file is being downloaded.
    Downloading {
        /// From where.
        url: String,
    },
    /// A build has entered a phase (`buildPhase`).
    Phase {
        /// The `.drv` file.
        derivation: String,
        /// The name of the phase.
        phase: String,
    },
    /// A line that a builder wrote, without colours.
    BuildLog {
        /// The `.drv` file.
        derivation: String,
        /// The line; what is longer than 4 KiB is cut.
        line: String,
    },
    /// Something that Nix itself says, without colours.
    Message {
        /// How urgent it is.
        level: MessageLevel,
        /// The text, of one or more lines.
        text: String,
    },
    /// A line that is not an event, from a program that Nix runs.
    Other {
        /// The line.
        line: String,
    },
}

/// One line of the format. Fields differ by `action`; what is missing is the default.
#[derive(Deserialize)]
struct Line {
    action: String,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    level: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    text: String,
    #[serde(default)]
    msg: String,
    raw_msg: Option<String>,
    #[serde(default)]
    fields: Vec<Value>,
    file: Option<String>,
    line: Option<u64>,
    column: Option<u64>,
}

/// An error that Nix reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The bare message.
    pub(super) message: String,
    /// The message with its traces and the lines of source it points at.
    pub(super) full: String,
    /// `file:line:column`, where known.
    pub(super) position: Option<String>,
}

/// Errors kept for the report; the first is most often the cause, so later ones are dropped.
const COMPLAINTS: usize = 16;
/// Bytes of one complaint that are kept: a trace with `--show-trace` can be megabytes.
const COMPLAINT_BYTES: usize = 16 << 10;
/// Bytes of one log line that are kept.
const LINE_BYTES: usize = 4 << 10;

const COPY_PATH: u64 = 100;
const DOWNLOAD: u64 = 101;
const BUILDS: u64 = 104;
const BUILD: u64 = 105;

const RESULT_LOG_LINE: u64 = 101;
const RESULT_PHASE: u64 = 104;
const RESULT_PROGRESS: u64 = 105;
const RESULT_POST_BUILD_LOG_LINE: u64 = 107;

/// Turns lines into events and keeps what an error will need. Its memory does not grow with the
/// amount of output.
#[derive(Debug, Default)]
pub(super) struct Parser {
    builds: HashMap<u64, String>,
    overall: Option<u64>,
    counts: [u64; 4],
    pub(super) logs: BuildLogs,
    pub(super) complaints: Vec<Complaint>,
}

impl Parser {
    /// Takes one line, without its line break. `cut` says that its end was thrown away.
    pub(super) fn line(&mut self, bytes: &[u8], cut: bool) -> Option<NixEvent> {
        let text = String::from_utf8_lossy(bytes);
        let Some(json) = text.strip_prefix("@nix ") else {
            let line = clip(&strip_escapes(text.trim_end_matches('\r')), LINE_BYTES);
            if line.trim().is_empty() {
                return None;
            }
            // What git or ssh say before Nix gives up is the better half of the reason.
            self.logs.other(line.clone());
            return Some(NixEvent::Other { line });
        };
        let line = match serde_json::from_str::<Line>(json) {
            Ok(line) => line,
            Err(_) if cut => return self.salvage(json),
            Err(_) => {
                return Some(NixEvent::Other {
                    line: clip(json, LINE_BYTES),
                });
            }
        };
        match line.action.as_str() {
            "start" => self.start(line),
            "stop" => {
                let derivation = self.builds.remove(&line.id)?;
                self.logs.finish(&derivation);
                Some(NixEvent::Built { derivation })
            }
            "result" => self.result(&line),
            "msg" => Some(self.message(line)),
            _ => None,
        }
    }

    fn start(&mut self, line: Line) -> Option<NixEvent> {
        match line.kind {
            BUILD => {
                let derivation = field(&line.fields, 0)?.to_owned();
                self.builds.insert(line.id, derivation.clone());
                Some(NixEvent::Building { derivation })
            }
            BUILDS => {
                self.overall = Some(line.id);
                None
            }
            COPY_PATH => Some(NixEvent::Copying {
                path: field(&line.fields, 0)?.to_owned(),
            }),
            DOWNLOAD => Some(NixEvent::Downloading {
                url: field(&line.fields, 0)?.to_owned(),
            }),
            // "evaluating derivation …", "copying '…' to the store"; the rest has no text.
            0 if !line.text.is_empty() && line.level <= 4 => Some(NixEvent::Evaluating {
                what: clip(&strip_escapes(&line.text), LINE_BYTES),
            }),
            _ => None,
        }
    }

    fn result(&mut self, line: &Line) -> Option<NixEvent> {
        match line.kind {
            RESULT_LOG_LINE | RESULT_POST_BUILD_LOG_LINE => {
                let derivation = self.builds.get(&line.id).cloned().unwrap_or_default();
                Some(self.build_line(derivation, field(&line.fields, 0)?))
            }
            RESULT_PHASE => Some(NixEvent::Phase {
                derivation: self.builds.get(&line.id)?.clone(),
                phase: clip(field(&line.fields, 0)?, LINE_BYTES),
            }),
            RESULT_PROGRESS if Some(line.id) == self.overall => {
                let number = |at: usize| line.fields.get(at).and_then(Value::as_u64).unwrap_or(0);
                let counts = [number(0), number(1), number(2), number(3)];
                // Nix repeats them several times a second.
                if counts == std::mem::replace(&mut self.counts, counts) {
                    return None;
                }
                let [done, total, running, failed] = counts;
                Some(NixEvent::Builds {
                    done,
                    total,
                    running,
                    failed,
                })
            }
            _ => None,
        }
    }

    fn build_line(&mut self, derivation: String, text: &str) -> NixEvent {
        let line = clip(&strip_escapes(text), LINE_BYTES);
        self.logs.push(&derivation, line.clone());
        NixEvent::BuildLog { derivation, line }
    }

    fn message(&mut self, line: Line) -> NixEvent {
        let level = match line.level {
            0 => MessageLevel::Error,
            1 => MessageLevel::Warning,
            2 => MessageLevel::Notice,
            3 => MessageLevel::Info,
            _ => MessageLevel::Debug,
        };
        let text = clip(&strip_escapes(&line.msg), COMPLAINT_BYTES);
        let raw = line.raw_msg.as_deref().map(strip_escapes);
        // Traces of `builtins.trace` have the same level, and no `error:`.
        if level == MessageLevel::Error && (raw.is_some() || text.starts_with("error:")) {
            let message = raw.unwrap_or_else(|| text.trim_start_matches("error:").to_owned());
            let position = line.file.filter(|file| file.starts_with('/')).map(|file| {
                format!(
                    "{file}:{}:{}",
                    line.line.unwrap_or(0),
                    line.column.unwrap_or(0)
                )
            });
            if self.complaints.len() < COMPLAINTS {
                self.complaints.push(Complaint {
                    message: clip(message.trim(), COMPLAINT_BYTES),
                    full: text.clone(),
                    position,
                });
            }
        } else if level == MessageLevel::Error && !text.starts_with("(use '--show-trace'") {
            self.logs.other(text.clone());
        }
        NixEvent::Message { level, text }
    }

    /// A log line so long that its end, with the build it belongs to, was cut off.
    fn salvage(&mut self, json: &str) -> Option<NixEvent> {
        let (_, text) = json.split_once("\"fields\":[\"")?;
        let mut derivations = self.builds.values();
        let derivation = match (derivations.next(), derivations.next()) {
            (Some(only), None) => only.clone(),
            _ => String::new(),
        };
        let text = text.get(..LINE_BYTES).unwrap_or(text);
        Some(self.build_line(derivation, text))
    }
}

fn field(fields: &[Value], at: usize) -> Option<&str> {
    fields.get(at).and_then(Value::as_str)
}

/// At most `limit` bytes, cut between characters and marked.
pub(super) fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Without terminal escapes and other control characters; tabs and line breaks stay.
pub(super) fn strip_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => match rest.next() {
                Some('[') => {
                    // A control sequence ends with a character from `@` to `~`.
                    for next in rest.by_ref() {
                        if ('@'..='~').contains(&next) {
                            break;
                        }
                    }
                }
                Some(']') => {
                    // An operating system command ends with BEL or ESC \.
                    while let Some(next) = rest.next() {
                        if next == '\u{7}' {
                            break;
                        }
                        if next == '\u{1b}' {
                            rest.next();
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\n' | '\t' => plain.push(character),
            other if other.is_control() => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from `nix-build --log-format internal-json` of Nix 2.8, ids shortened.
    const RECORDED: &[&str] = &[
        r#"@nix {"action":"start","id":2,"level":6,"text":"querying info about missing paths","type":0}"#,
        r#"@nix {"action":"stop","id":2}"#,
        r#"@nix {"action":"msg","level":3,"msg":"this derivation will be built:"}"#,
        r#"@nix {"action":"start","id":3,"level":0,"text":"","type":102}"#,
        r#"@nix {"action":"start","id":4,"level":0,"text":"","type":104}"#,
        r#"@nix {"action":"start","id":5,"level":0,"text":"","type":103}"#,
        r#"@nix {"action":"result","fields":[0,1,0,0],"id":4,"type":105}"#,
        r#"@nix {"action":"result","fields":[0,0,0,0],"id":5,"type":105}"#,
        r#"@nix {"action":"result","fields":[101,0],"id":3,"type":106}"#,
        r#"@nix {"action":"start","fields":["/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv","",1,1],"id":7,"level":3,"text":"building '/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv'","type":105}"#,
        r#"@nix {"action":"result","fields":[0,1,1,0],"id":4,"type":105}"#,
        r#"@nix {"action":"result","fields":[0,1,1,0],"id":4,"type":105}"#,
        r#"@nix {"action":"result","fields":["buildPhase"],"id":7,"type":104}"#,
        r#"@nix {"action":"result","fields":["\u001b[31mred\u001b[0m"],"id":7,"type":101}"#,
        r#"@nix {"action":"result","fields":[0,0,0,1],"id":4,"type":105}"#,
        r#"@nix {"action":"stop","id":7}"#,
        r#"@nix {"action":"msg","column":null,"file":null,"level":0,"line":null,"msg":"\u001b[31;1merror:\u001b[0m builder for '\u001b[35;1m/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv\u001b[0m' failed with exit code 3","raw_msg":"builder for '\u001b[35;1m/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv\u001b[0m' failed with exit code 3"}"#,
    ];

    const DRV: &str = "/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv";

    fn builds(done: u64, total: u64, running: u64, failed: u64) -> NixEvent {
        NixEvent::Builds {
            done,
            total,
            running,
            failed,
        }
    }

    #[test]
    fn a_recorded_failure_becomes_events() {
        let mut parser = Parser::default();
        let events: Vec<_> = RECORDED
            .iter()
            .filter_map(|line| parser.line(line.as_bytes(), false))
            .collect();
        let derivation = || DRV.to_owned();
        assert_eq!(
            events,
            [
                NixEvent::Message {
                    level: MessageLevel::Info,
                    text: "this derivation will be built:".into()
                },
                builds(0, 1, 0, 0),
                NixEvent::Building {
                    derivation: derivation()
                },
                builds(0, 1, 1, 0),
                NixEvent::Phase {
                    derivation: derivation(),
                    phase: "buildPhase".into()
                },
                NixEvent::BuildLog {
                    derivation: derivation(),
                    line: "red".into()
                },
                builds(0, 0, 0, 1),
                NixEvent::Built {
                    derivation: derivation()
                },
                NixEvent::Message {
                    level: MessageLevel::Error,
                    text: format!("error: builder for '{DRV}' failed with exit code 3")
                },
            ]
        );
        assert_eq!(
            parser.complaints[0].message,
            format!("builder for '{DRV}' failed with exit code 3")
        );
        assert_eq!(parser.logs.tail(DRV), ["red"]);
    }

    #[test]
    fn a_position_and_a_trace_are_told_apart() {
        let mut parser = Parser::default();
        parser.line(
            br#"@nix {"action":"msg","level":0,"msg":"trace: hello"}"#,
            false,
        );
        assert!(parser.complaints.is_empty());
        parser.line(
            br#"@nix {"action":"msg","column":13,"file":"/x/syntax.nix","level":0,"line":1,"msg":"\u001b[31;1merror:\u001b[0m syntax error\n\n at x","raw_msg":"syntax error"}"#,
            false,
        );
        let complaint = &parser.complaints[0];
        assert_eq!(complaint.message, "syntax error");
        assert_eq!(complaint.position.as_deref(), Some("/x/syntax.nix:1:13"));
        assert_eq!(complaint.full, "error: syntax error\n\n at x");
    }

    #[test]
    fn what_is_no_event_passes_through() {
        let mut parser = Parser::default();
        let other = |line: &str| Some(NixEvent::Other { line: line.into() });
        assert_eq!(
            parser.line(b"fatal: bad \xff\r", false),
            other("fatal: bad \u{fffd}")
        );
        assert_eq!(parser.line(b"@nix not json", false), other("not json"));
        assert_eq!(parser.line(b"  ", false), None);
        assert_eq!(parser.line(br#"@nix {"action":"new thing"}"#, false), None);
    }

    #[test]
    fn a_cut_line_is_still_a_log_line() {
        let mut parser = Parser::default();
        parser.line(RECORDED[9].as_bytes(), false);
        let long = format!(
            "@nix {{\"action\":\"result\",\"fields\":[\"{}",
            "x".repeat(9000)
        );
        let Some(NixEvent::BuildLog { derivation, line }) = parser.line(long.as_bytes(), true)
        else {
            panic!("no log line");
        };
        assert_eq!(derivation, DRV);
        assert_eq!(line, "x".repeat(LINE_BYTES));
    }

    #[test]
    fn escapes_go_and_text_stays() {
        assert_eq!(strip_escapes("\u{1b}[31;1ma\u{1b}[0m\tb\r\u{7}ü"), "a\tbü");
        assert_eq!(
            strip_escapes("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}!"),
            "link!"
        );
        assert_eq!(strip_escapes("end\u{1b}"), "end");
        assert_eq!(clip("äöü", 3), "ä…");
    }
}
