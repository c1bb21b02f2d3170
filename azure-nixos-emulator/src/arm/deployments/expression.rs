//! The language of template expressions: `[concat(parameters('name'), '-nic')]`.

use std::iter::Peekable;
use std::str::CharIndices;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Text(String),
    Number(i64),
    /// A function, by its name as written.
    Call(String, Vec<Expression>),
    /// `.name` behind something.
    Property(Box<Expression>, String),
    /// `[index]` behind something.
    Index(Box<Expression>, Box<Expression>),
}

/// How deep expressions nest; deeper ones are refused.
const DEEPEST: usize = 64;

/// The expression in a string of a template, where it is one.
pub(super) fn inside(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    (!inner.starts_with('[')).then_some(inner)
}

/// Parses what [`inside`] gave.
///
/// # Errors
/// What is wrong with it, as a sentence without an end.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser {
        text,
        chars: text.char_indices().peekable(),
    };
    let expression = parser.expression(0)?;
    parser.skip_spaces();
    match parser.chars.peek() {
        None => Ok(expression),
        Some((at, c)) => Err(format!("unexpected '{c}' at position {at} of '{text}'")),
    }
}

struct Parser<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Parser<'_> {
    fn skip_spaces(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(match self.chars.peek() {
            Some((at, c)) => format!(
                "expected '{wanted}' and not '{c}' at position {at} of '{}'",
                self.text
            ),
            None => format!("expected '{wanted}' at the end of '{}'", self.text),
        })
    }

    fn word(&mut self) -> String {
        self.skip_spaces();
        let mut word = String::new();
        while let Some((_, c)) = self
            .chars
            .next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_' || *c == '$')
        {
            word.push(c);
        }
        word
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEEPEST {
            return Err(format!("the expression '{}' nests too deep", self.text));
        }
        self.skip_spaces();
        let mut value = match self.chars.peek() {
            Some((_, '\'')) => Expression::Text(self.string()?),
            Some((_, c)) if c.is_ascii_digit() || *c == '-' => self.number()?,
            Some((_, c)) if c.is_ascii_alphabetic() => self.call(depth)?,
            Some((at, c)) => {
                return Err(format!(
                    "unexpected '{c}' at position {at} of '{}'",
                    self.text
                ));
            }
            None => return Err(format!("the expression '{}' ends too early", self.text)),
        };
        loop {
            if self.take('.') {
                let name = self.word();
                if name.is_empty() {
                    return Err(format!("a name is missing after '.' in '{}'", self.text));
                }
                value = Expression::Property(Box::new(value), name);
            } else if self.take('[') {
                let index = self.expression(depth + 1)?;
                self.expect(']')?;
                value = Expression::Index(Box::new(value), Box::new(index));
            } else {
                return Ok(value);
            }
        }
    }

    /// `'it''s'`: a quote is written twice.
    fn string(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut text = String::new();
        while let Some((_, c)) = self.chars.next() {
            if c != '\'' {
                text.push(c);
            } else if self.chars.next_if(|(_, c)| *c == '\'').is_some() {
                text.push('\'');
            } else {
                return Ok(text);
            }
        }
        Err(format!("a string does not end in '{}'", self.text))
    }

    fn number(&mut self) -> Result<Expression, String> {
        let mut digits = String::new();
        while let Some((_, c)) = self.chars.next_if(|(_, c)| c.is_ascii_digit() || *c == '-') {
            digits.push(c);
        }
        digits
            .parse()
            .map(Expression::Number)
            .map_err(|_| format!("'{digits}' is not a number in '{}'", self.text))
    }

    fn call(&mut self, depth: usize) -> Result<Expression, String> {
        let mut name = self.word();
        // A function of one's own: `namespace.name()`.
        if self.chars.peek().is_some_and(|(_, c)| *c == '.') {
            self.chars.next();
            name = format!("{name}.{}", self.word());
        }
        self.expect('(')?;
        let mut arguments = Vec::new();
        if !self.take(')') {
            loop {
                arguments.push(self.expression(depth + 1)?);
                if self.take(')') {
                    break;
                }
                self.expect(',')?;
            }
        }
        Ok(Expression::Call(name, arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_a_tree() {
        let text = "[concat(variables('it''s') , reference('x','2020-01-01').ips[0].id, -5)]";
        let parsed = parse(inside(text).unwrap()).unwrap();
        let text = |text: &str| Expression::Text(text.to_owned());
        let call = |name: &str, arguments| Expression::Call(name.to_owned(), arguments);
        let property = |of, name: &str| Expression::Property(Box::new(of), name.to_owned());
        let expected = call(
            "concat",
            vec![
                call("variables", vec![text("it's")]),
                property(
                    Expression::Index(
                        Box::new(property(
                            call("reference", vec![text("x"), text("2020-01-01")]),
                            "ips",
                        )),
                        Box::new(Expression::Number(0)),
                    ),
                    "id",
                ),
                Expression::Number(-5),
            ],
        );
        assert_eq!(parsed, expected);
    }

    #[test]
    fn what_is_no_expression_stays_text() {
        assert_eq!(inside("[[x]"), None);
        assert_eq!(inside("[x"), None);
        assert_eq!(inside("x]"), None);
    }

    #[test]
    fn errors_say_where() {
        for (text, word) in [
            ("concat('a'", "','"),
            ("concat('a)", "does not end"),
            ("", "too early"),
            ("f() g()", "position 4"),
            ("f(#)", "'#'"),
            ("f().", "after '.'"),
            ("f", "'('"),
            ("99999999999999999999", "not a number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let deep = format!("{}'x'{}", "f(".repeat(100), ")".repeat(100));
        assert!(parse(&deep).unwrap_err().contains("too deep"));
    }
}
