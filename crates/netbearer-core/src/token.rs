use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A secret that a session is found again by, after the service was away. Chosen at random by who gives it; shown to nobody but
/// the session's owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(pub u128);

/// Not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has 32 hexadecimal digits")]
pub struct TokenError;

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl From<Token> for String {
    /// 32 hexadecimal digits, which is how it is told to the owner and kept in files.
    fn from(token: Token) -> Self {
        format!("{:032x}", token.0)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let is_hexadecimal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hexadecimal.then(|| u128::from_str_radix(text, 16).ok());
        number.flatten().map(Self).ok_or(TokenError)
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_travels_as_32_digits_and_is_never_shown_by_accident() {
        let token = Token(0xfeed);
        let text = String::from(token);
        assert_eq!(text, "0000000000000000000000000000feed");
        assert_eq!(text.parse(), Ok(token));
        assert_eq!(serde_json::to_string(&token).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Token>(&format!("\"{text}\"")).unwrap(), token);
        assert!(!format!("{token:?}").contains("feed"));
    }

    #[test]
    fn nothing_else_is_a_token() {
        for text in ["", "feed", "+000000000000000000000000000feed", "0000000000000000000000000000feedd", "zz"] {
            assert_eq!(text.parse::<Token>(), Err(TokenError), "{text}");
        }
    }
}
