//! Target URLs and their origins.
//!
//! Owns the only place where a target URL is parsed (WHATWG, by the `url` crate). What was parsed
//! is what is checked, dialled and requested: the raw text is kept for echoing alone. Must never
//! resolve a name or judge an address.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest target URL, in characters (Uploadcare's limit).
pub const TARGET_URL_CHARS_MAX: usize = 255;

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// The host of an origin: a name that is no address in any spelling, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A lower-case, punycoded name.
    Name(String),
    /// A literal address.
    Address(IpAddr),
}

/// Scheme, host and effective port: what rate limits, concurrency and connection health belong to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Name or address.
    pub host: Host,
    /// The port that is dialled.
    pub port: u16,
}

/// A parsed target URL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetUrl {
    text: String,
    origin: Origin,
    path_and_query: String,
}

/// Why a text is no target URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Longer than [`TARGET_URL_CHARS_MAX`].
    #[error("longer than {TARGET_URL_CHARS_MAX} characters")]
    TooLong,
    /// Not an absolute URL at all.
    #[error("not an absolute URL")]
    Malformed,
    /// Neither http nor https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// A user name or a password before the host.
    #[error("user names and passwords in a URL are not supported")]
    Userinfo,
    /// Port 0.
    #[error("port 0 can't be dialled")]
    Port,
}

impl TargetUrl {
    /// Parses a URL as a browser would, and refuses what no webhook needs.
    pub fn parse(text: &str) -> Result<TargetUrl, UrlError> {
        if text.chars().count() > TARGET_URL_CHARS_MAX {
            return Err(UrlError::TooLong);
        }
        // WHATWG strips these silently; a URL that means something else than it shows is refused.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Malformed);
        }
        let url = url::Url::parse(text).map_err(|_| UrlError::Malformed)?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Userinfo);
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) if is_host_name(name) => Host::Name(name.to_owned()),
            Some(url::Host::Ipv4(v4)) => Host::Address(IpAddr::V4(v4)),
            Some(url::Host::Ipv6(v6)) => Host::Address(IpAddr::V6(v6)),
            _ => return Err(UrlError::Malformed),
        };
        let port = url.port_or_known_default().ok_or(UrlError::Malformed)?;
        if port == 0 {
            return Err(UrlError::Port);
        }
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(TargetUrl {
            text: text.to_owned(),
            origin: Origin { scheme, host, port },
            path_and_query,
        })
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it is dialled.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the request line asks for, percent-encoded.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }
}

impl Origin {
    /// The `Host` header: with the port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        // For each request, so without a formatter where none is needed.
        let mut text = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(v4)) => dotted(v4.octets()),
            Host::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
        };
        if self.port != self.scheme.default_port() {
            text.push(':');
            text.push_str(itoa::Buffer::new().format(self.port));
        }
        text
    }

    /// Reads `https://host[:port]`, with or without a final slash.
    pub fn parse(text: &str) -> Result<Origin, UrlError> {
        let url = TargetUrl::parse(text)?;
        if url.path_and_query == "/" { Ok(url.origin) } else { Err(UrlError::Malformed) }
    }
}

fn dotted(octets: [u8; 4]) -> String {
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    for (place, octet) in octets.into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

/// What the id of a target begins with.
const ID_PREFIX: &str = "tgt_";

impl Origin {
    /// Its id in paths of the API: `tgt_` and its text in base64 for URLs.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{ID_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.to_string()))
    }

    /// Reads an id, as [`Origin::id`] alone writes it.
    #[must_use]
    pub fn parse_id(text: &str) -> Option<Origin> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(ID_PREFIX)?).ok()?;
        let origin = Origin::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
        (origin.id() == text).then_some(origin)
    }
}

impl TryFrom<String> for Origin {
    type Error = UrlError;
    fn try_from(text: String) -> Result<Origin, UrlError> {
        Origin::parse(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> String {
        origin.to_string()
    }
}

/// WHATWG lets quotes, braces and commas through, which no host name has and no `Host` header takes.
fn is_host_name(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(sound)
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Host::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl TryFrom<String> for TargetUrl {
    type Error = UrlError;
    fn try_from(text: String) -> Result<TargetUrl, UrlError> {
        TargetUrl::parse(&text)
    }
}

impl From<TargetUrl> for String {
    fn from(url: TargetUrl) -> String {
        url.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_is_dialled() {
        let url = TargetUrl::parse("HTTPS://Example.COM:443/a b".replace(' ', "%20").as_str());
        let url = url.expect("a sound URL");
        assert_eq!(url.origin().to_string(), "https://example.com");
        assert_eq!(url.path_and_query(), "/a%20b");
        assert_eq!(url.as_str(), "HTTPS://Example.COM:443/a%20b");
        let odd = TargetUrl::parse("http://0x7f.1:8081/?x=1#part").expect("WHATWG reads it");
        assert_eq!(odd.origin().to_string(), "http://127.0.0.1:8081");
        assert_eq!(odd.path_and_query(), "/?x=1");
        let names = ["http://bücher_-1.example./", "http://xn--bcher_-1-65a.example./"];
        let [given, parsed] = names.map(|text| TargetUrl::parse(text).map(|url| url.origin));
        assert_eq!(given.expect("a name"), parsed.expect("the same name"));
    }

    #[test]
    fn ids_of_targets_are_read_back() {
        for text in ["https://example.com", "http://example.com:8080", "http://[::1]:9"] {
            let origin = Origin::parse(text).expect("an origin");
            assert_eq!(origin.to_string(), text);
            assert_eq!(Origin::parse_id(&origin.id()), Some(origin));
        }
        let other = format!("tgt_{}", URL_SAFE_NO_PAD.encode("https://example.com:443"));
        for text in ["", "tgt_", "tgt_!", "https://example.com", other.as_str()] {
            assert_eq!(Origin::parse_id(text), None, "{text}");
        }
    }

    #[test]
    fn refuses() {
        let long = format!("http://a.example/{}", "x".repeat(250));
        for (text, why) in [
            ("invalid", UrlError::Malformed),
            ("", UrlError::Malformed),
            ("http://", UrlError::Malformed),
            ("http://1\"h/", UrlError::Malformed),
            ("http://a,b.example/", UrlError::Malformed),
            ("http://{a}.example/", UrlError::Malformed),
            ("http://example.com ", UrlError::Malformed),
            ("ftp://example.com/", UrlError::Scheme),
            ("http://u:p@example.com/", UrlError::Userinfo),
            ("http://example.com:0/", UrlError::Port),
            (long.as_str(), UrlError::TooLong),
        ] {
            assert_eq!(TargetUrl::parse(text), Err(why), "{text}");
        }
    }
}
