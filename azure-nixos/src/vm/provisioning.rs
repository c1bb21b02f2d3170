//! What a machine is told: data that it reads by itself, and whether there is an agent that the
//! service hears from.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::spec::Once;
use crate::arm::compute::Withheld;
use crate::blocking::blocking;
use crate::quote::in_quotes;
use crate::{Error, ErrorKind, Result};

/// What Azure takes of either kind of data, before it is written in base64.
const LARGEST_DATA: usize = 65_535;

/// Data for a machine. It may be secret, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "({} bytes withheld)", bytes.len()),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Provisioning {
    pub(crate) custom_data: Option<Data>,
    /// Variables of a shell, which NixOS images with no cloud-init read.
    pub(crate) shell_variables: Vec<(String, Data)>,
    pub(crate) user_data: Option<Data>,
    pub(crate) agent: bool,
}

impl Default for Provisioning {
    fn default() -> Self {
        Self {
            custom_data: None,
            shell_variables: Vec::new(),
            user_data: None,
            agent: true,
        }
    }
}

/// The same, read, checked and in base64.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) custom_data: Option<Withheld>,
    pub(crate) user_data: Option<Withheld>,
    pub(crate) agent: bool,
}

impl Provisioning {
    /// Reads and checks it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is too much of it, or a name is none; that of a file
    /// that cannot be read.
    pub(crate) async fn read(&self, once: Once) -> Result<Told> {
        let mut own = self.clone();
        blocking(move || {
            if once == Once::Left {
                own.leave_pipes();
            }
            own.read_now()
        })
        .await
    }

    /// Puts something harmless in the place of what can be read once.
    fn leave_pipes(&mut self) {
        let data = self.custom_data.iter_mut().chain(&mut self.user_data);
        let values = self.shell_variables.iter_mut().map(|(_, value)| value);
        for one in data.chain(values) {
            if let Data::File(path) = one
                && is_pipe(path)
            {
                *one = Data::Bytes(b"?".to_vec());
            }
        }
    }

    fn read_now(&self) -> Result<Told> {
        if self.custom_data.is_some() && !self.shell_variables.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "custom data is one text: shell variables and a file do not go together",
            )
            .with_hint("put the variables into the file, or leave the file out"));
        }
        let custom_data = match (&self.custom_data, self.shell_variables.as_slice()) {
            (Some(data), _) => Some(encode("the custom data", data.read("the custom data")?)?),
            (None, []) => None,
            (None, variables) => Some(encode("the shell variables", shell(variables)?)?),
        };
        let user_data = self
            .user_data
            .as_ref()
            .map(|data| encode("the user data", data.read("the user data")?))
            .transpose()?;
        Ok(Told {
            custom_data,
            user_data,
            agent: self.agent,
        })
    }

    /// Whether there is anything that only a machine takes that is provisioned at its first boot.
    pub(crate) fn needs_first_boot(&self) -> Option<&'static str> {
        if self.custom_data.is_some() {
            Some("custom data")
        } else if !self.shell_variables.is_empty() {
            Some("shell variables")
        } else {
            None
        }
    }
}

/// Whether what is read of it is gone. What cannot be asked is no pipe: reading it tells why.
pub(crate) fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|what| !what.is_file())
}

impl Data {
    /// At most one byte more than may be.
    fn read(&self, what: &'static str) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(path) => {
                let failed = |error| {
                    let doing = match what {
                        "the custom data" => "read the custom data",
                        "the user data" => "read the user data",
                        _ => "read the shell variable",
                    };
                    Error::io(doing, path, error)
                };
                let mut bytes = Vec::new();
                fs::File::open(path)
                    .map_err(failed)?
                    .take(LARGEST_DATA as u64 + 1)
                    .read_to_end(&mut bytes)
                    .map_err(failed)?;
                Ok(bytes)
            }
        }
    }
}

fn encode(what: &str, bytes: Vec<u8>) -> Result<Withheld> {
    if bytes.len() > LARGEST_DATA {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{what} has more than {LARGEST_DATA} bytes, which is all that Azure takes"),
        )
        .with_hint("let it fetch the rest from elsewhere"));
    }
    if bytes.is_empty() {
        return Err(
            Error::new(ErrorKind::InvalidInput, format!("{what} is empty"))
                .with_hint("leave it out if there is nothing to say"),
        );
    }
    Ok(Withheld::new(STANDARD.encode(bytes)))
}

/// Assignments that a shell reads with `eval` or `.`: `NAME='value'`, one after the other.
fn shell(variables: &[(String, Data)]) -> Result<Vec<u8>> {
    let mut text = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in variables {
        let refuse = |why: &str| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("the shell variable {name:?} {why}"),
            )
            .with_hint("a variable is NAME=VALUE, or NAME=@FILE with the value in a file")
        };
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(refuse("has a name that no shell takes"));
        }
        if seen.contains(&name.as_str()) {
            return Err(refuse("is given twice"));
        }
        seen.push(name);
        let value = String::from_utf8(value.read("the shell variable")?)
            .map_err(|_| refuse("is no text in UTF-8"))?;
        if value.contains('\0') {
            return Err(refuse("has a zero byte in it, which no shell keeps"));
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&in_quotes(&value));
        text.push('\n');
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(change: impl FnOnce(&mut Provisioning)) -> Result<Told> {
        let mut provisioning = Provisioning::default();
        change(&mut provisioning);
        provisioning.read_now()
    }

    fn decoded(data: Option<Withheld>) -> Vec<u8> {
        STANDARD.decode(data.unwrap().reveal()).unwrap()
    }

    fn bytes(text: &str) -> Data {
        Data::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn as_much_as_azure_takes_and_no_more() {
        let most = vec![7; LARGEST_DATA];
        let told = |length: usize| {
            let data = most.iter().copied().chain([7]).take(length).collect();
            told(|p| p.user_data = Some(Data::Bytes(data)))
        };
        assert_eq!(decoded(told(LARGEST_DATA).unwrap().user_data), most);
        let error = told(LARGEST_DATA + 1).unwrap_err();
        assert!(error.to_string().contains("65535 bytes"), "{error}");
        assert!(told(0).is_err());
    }

    #[test]
    fn files_are_read_and_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.yaml");
        fs::write(&path, "#cloud-config\n").unwrap();
        let file = |path: &Path| {
            let data = Data::File(path.to_owned());
            told(|p| p.custom_data = Some(data))
        };
        assert_eq!(
            decoded(file(&path).unwrap().custom_data),
            b"#cloud-config\n"
        );
        let error = file("/dev/zero".as_ref()).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
        let error = file(&directory.path().join("none")).unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }

    #[test]
    fn variables_survive_a_shell() {
        let values = [
            ("plain", "value"),
            ("_2", "it's $HOME `id` \"x\" \\n"),
            ("key", "-----BEGIN\nline\n-----END\n"),
            ("empty", ""),
        ];
        let told = told(|p| {
            p.shell_variables = values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), bytes(value)))
                .collect();
        })
        .unwrap();
        let text = decoded(told.custom_data);
        // The way in which NixOS images read it.
        let script = "eval \"$(cat)\"; printf '%s|' \"$plain\" \"$_2\" \"$key\" \"$empty\"";
        let mut shell = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut shell.stdin.take().unwrap(), &text).unwrap();
        let output = shell.wait_with_output().unwrap();
        let expected: String = values
            .iter()
            .map(|(_, value)| format!("{value}|"))
            .collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    #[test]
    fn variables_that_no_shell_takes_are_refused() {
        for (variables, part) in [
            (vec![("1a", "x")], "name"),
            (vec![("a-b", "x")], "name"),
            (vec![("", "x")], "name"),
            (vec![("a", "x"), ("a", "y")], "twice"),
            (vec![("a", "x\0")], "zero byte"),
        ] {
            let error = told(|p| {
                p.shell_variables = variables
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), bytes(value)))
                    .collect();
            })
            .unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        let both = told(|p| {
            p.custom_data = Some(bytes("x"));
            p.shell_variables = vec![("a".to_owned(), bytes("S3CRET"))];
            assert!(!format!("{p:?}").contains("S3CRET"));
        });
        assert!(both.unwrap_err().to_string().contains("do not go together"));
        let secret = told(|p| p.user_data = Some(bytes("S3CRET"))).unwrap();
        let shown = format!("{secret:?}");
        assert!(
            shown.contains("withheld") && !shown.contains("UzNDUkVU"),
            "{shown}"
        );
    }
}
