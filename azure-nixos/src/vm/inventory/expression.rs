//! Nix expressions that are data: strings, numbers, lists and sets.

use std::fmt::{self, Write as _};

use crate::nix::quote::string;

/// A value as Nix writes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Null,
    Text(String),
    Number(u16),
    Truth(bool),
    List(Vec<Expression>),
    Set(Vec<(Name, Expression)>),
    /// A module that looks at the options that there are.
    Module(Box<Expression>),
}

/// The name of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Name {
    /// One of this code: an identifier, and no word of the language.
    Option(&'static str),
    /// One from elsewhere, which is written in quotes.
    Quoted(String),
    /// `deployment.NAME` of a [module](Expression::Module), where there is such an option: a definition
    /// of one that is not declared is an error.
    WhereDeclared(&'static str),
}

impl Expression {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// Options of a module, in this order.
    pub(super) fn options(options: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let options = options.into_iter();
        Self::Set(
            options
                .map(|(name, value)| (Name::Option(name), value))
                .collect(),
        )
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Text(text) => f.write_str(&string(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::List(values) => {
                f.write_str("[ ")?;
                for value in values {
                    value.write(f, depth)?;
                    f.write_char(' ')?;
                }
                f.write_char(']')
            }
            Self::Set(entries) if entries.is_empty() => f.write_str("{ }"),
            Self::Set(entries) => {
                f.write_str("{\n")?;
                for (name, value) in entries {
                    let indent = "  ".repeat(depth + 1);
                    match name {
                        Name::Option(name) => write!(f, "{indent}{name} = ")?,
                        Name::Quoted(name) => write!(f, "{indent}{} = ", string(name))?,
                        Name::WhereDeclared(name) => write!(
                            f,
                            "{indent}${{if options.deployment ? {name} then \"{name}\" else null}} = "
                        )?,
                    }
                    value.write(f, depth + 1)?;
                    f.write_str(";\n")?;
                }
                write!(f, "{}}}", "  ".repeat(depth))
            }
            Self::Module(body) => {
                f.write_str("{ options, ... }: ")?;
                body.write(f, depth)
            }
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_as_people_write_it() {
        let value = Expression::Set(vec![(
            Name::Quoted("web-1".to_owned()),
            Expression::options([
                ("host", Expression::text("1.2.3.4")),
                ("port", Expression::Number(22)),
                ("none", Expression::List(Vec::new())),
                ("words", Expression::texts(["a b", "${c}"])),
                ("empty", Expression::Set(Vec::new())),
                ("no", Expression::Truth(false)),
            ]),
        )]);
        let text = r#"{
  "web-1" = {
    host = "1.2.3.4";
    port = 22;
    none = [ ];
    words = [ "a b" "\${c}" ];
    empty = { };
    no = false;
  };
}"#;
        assert_eq!(value.to_string(), text);
    }
}
