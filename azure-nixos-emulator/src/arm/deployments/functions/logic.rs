//! Functions about truth, order and numbers.

use serde_json::{Value, json};

use super::super::evaluate::Evaluated;
use super::{Arguments, invalid};

pub(super) fn call(name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
    let overflow = || invalid(format!("The template language function '{name}' overflows"));
    Ok(Some(match name {
        "true" => json!(true),
        "false" => json!(false),
        "null" => Value::Null,
        "not" => json!(!of.flag(0)?),
        "and" => {
            let mut all = true;
            for at in 0..of.values.len() {
                all &= of.flag(at)?;
            }
            json!(all)
        }
        "or" => {
            let mut any = false;
            for at in 0..of.values.len() {
                any |= of.flag(at)?;
            }
            json!(any)
        }
        "bool" => match of.get(0)? {
            Value::String(text) if text.eq_ignore_ascii_case("true") => json!(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => json!(false),
            Value::Number(number) => json!(number.as_i64() != Some(0)),
            _ => json!(of.flag(0)?),
        },
        "equals" => json!(of.get(0)? == of.get(1)?),
        "less" | "lessorequals" | "greater" | "greaterorequals" => {
            let order = match (of.get(0)?, of.get(1)?) {
                (Value::String(a), Value::String(b)) => a.cmp(b),
                _ => of.number(0)?.cmp(&of.number(1)?),
            };
            json!(match name {
                "less" => order.is_lt(),
                "lessorequals" => order.is_le(),
                "greater" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        "coalesce" => of
            .values
            .iter()
            .find(|value| !value.is_null())
            .cloned()
            .unwrap_or(Value::Null),
        "add" => json!(
            of.number(0)?
                .checked_add(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "sub" => json!(
            of.number(0)?
                .checked_sub(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "mul" => json!(
            of.number(0)?
                .checked_mul(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "div" => json!(
            of.number(0)?
                .checked_div(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "mod" => json!(
            of.number(0)?
                .checked_rem(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "min" => json!(of.numbers()?.into_iter().min()),
        "max" => json!(of.numbers()?.into_iter().max()),
        _ => return Ok(None),
    }))
}
