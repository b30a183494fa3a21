//! Single words of a configuration, read strictly: addresses, networks, hosts, keys, names, URLs.
//!
//! Owns one function for each form. Must never resolve a name or open a file.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::checked::{EncryptionKey, Proxy};
use super::error::ValueError;
use crate::model::event::EventName;
use crate::model::project::{NAME_CHARS_MAX, key_is_sound};
use crate::model::secret::Secret;
use crate::model::target::{Host, Origin, Scheme, UrlError};

/// The longest `User-Agent`, in bytes.
pub(super) const USER_AGENT_BYTES_MAX: usize = 256;
/// The longest URL of a CDN, in bytes.
pub(super) const CDN_BASE_BYTES_MAX: usize = 255;

const PADDING_OPTIONAL: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, PADDING_OPTIONAL);
const BASE64_URL: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, PADDING_OPTIONAL);

pub(super) fn address(text: &str) -> Result<SocketAddr, ValueError> {
    text.parse().map_err(|_| {
        ValueError::Not("an address and a port, for example \"127.0.0.1:8080\" or \"[::1]:8080\"")
    })
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, ValueError> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| ValueError::Not("a network (\"10.0.0.0/8\") or an address"))
}

/// An entry of an allow list: a network, an address, a host, or `*.` and a host.
pub(super) fn allowed(text: &str) -> Result<String, ValueError> {
    const WANTED: ValueError = ValueError::Not(
        "a network (\"10.0.0.0/8\"), an address or a host (\"hooks.internal\", \"*.internal\"), \
         without scheme, port or path",
    );
    if let Ok(network) = network(text) {
        // As it was written: an address stays one, so that messages name what is in the file.
        let one = network.prefix_len() == network.max_prefix_len() && !text.contains('/');
        return Ok(if one { network.addr().to_string() } else { network.trunc().to_string() });
    }
    let (prefix, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    if name.contains(['/', ':', '@', '*']) || name.contains(char::is_whitespace) {
        return Err(WANTED);
    }
    match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) if !name.is_empty() => Ok(format!("{prefix}{name}")),
        // `127.1` and its like: whoever means an address has to write it so that it is seen.
        _ => Err(WANTED),
    }
}

pub(super) fn choice<T: Copy>(
    text: &str,
    names: &[(&'static str, T)],
    wants: &'static str,
) -> Result<T, ValueError> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or(ValueError::Not(wants))
}

/// 32 bytes in base64 (either alphabet) or hex.
pub(super) fn encryption_key(text: &str) -> Result<EncryptionKey, ValueError> {
    let decoded = hex(text).or_else(|| BASE64.decode(text).ok().map(Zeroizing::new));
    let decoded = decoded.or_else(|| BASE64_URL.decode(text).ok().map(Zeroizing::new));
    let key = decoded.and_then(|bytes| bytes.as_slice().try_into().ok());
    key.map(EncryptionKey::new)
        .ok_or(ValueError::Not("32 bytes in base64 or hex; `openssl rand -base64 32` makes a key"))
}

/// Exactly twice as many hex digits as a key has bytes.
fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() != 2 * EncryptionKey::BYTES {
        return None;
    }
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let digits = Zeroizing::new(digits);
    let bytes = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    Some(Zeroizing::new(bytes))
}

/// `http://[user:password@]host:port`, or `none`.
pub(super) fn proxy(text: &str) -> Result<Option<Proxy>, ValueError> {
    const WANTED: ValueError =
        ValueError::Not("a proxy's URL, for example \"http://proxy.internal:3128\", or \"none\"");
    if text == "none" {
        return Ok(None);
    }
    let url = url::Url::parse(text).map_err(|_| WANTED)?;
    if url.scheme() != "http" || url.path() != "/" || url.query().is_some() {
        return Err(WANTED);
    }
    let host = match url.host() {
        Some(url::Host::Domain(name)) => Host::Name(name.to_owned()),
        Some(url::Host::Ipv4(v4)) => Host::Address(IpAddr::V4(v4)),
        Some(url::Host::Ipv6(v6)) => Host::Address(IpAddr::V6(v6)),
        None => return Err(WANTED),
    };
    let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(WANTED)?;
    let credentials = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => {
            let pair = format!("{user}:{}", password.unwrap_or(""));
            Some(Secret::new(percent_decoded(&pair).ok_or(WANTED)?))
        }
    };
    Ok(Some(Proxy { origin: Origin { scheme: Scheme::Http, host, port }, credentials }))
}

/// `https://host[:port]`.
pub(super) fn origin(text: &str) -> Result<Origin, ValueError> {
    Origin::parse(text).map_err(|error| match error {
        UrlError::Malformed => ValueError::Not(
            "scheme, host and port alone, for example \"https://hooks.example.com\"",
        ),
        other => ValueError::Url(other),
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

pub(super) fn user_agent(text: &str) -> Result<String, ValueError> {
    let sound = !text.trim().is_empty()
        && text.len() <= USER_AGENT_BYTES_MAX
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    sound.then(|| text.to_owned()).ok_or(ValueError::Not("1 to 256 visible ASCII characters"))
}

pub(super) fn key(text: &str) -> Result<String, ValueError> {
    key_is_sound(text)
        .then(|| text.to_owned())
        .ok_or(ValueError::Not("a key: 1 to 128 visible ASCII characters without \":\""))
}

pub(super) fn name(text: &str) -> Result<String, ValueError> {
    let sound = !text.trim().is_empty()
        && text.chars().count() <= NAME_CHARS_MAX
        && !text.chars().any(char::is_control);
    sound.then(|| text.to_owned()).ok_or(ValueError::Not("a name of 1 to 128 characters"))
}

pub(super) fn event_name(text: &str) -> Result<String, ValueError> {
    EventName::parse(text)
        .map(String::from)
        .ok_or(ValueError::Not("an event name: letters, digits, \"_\", \".\" and \"-\""))
}

/// An http or https URL, without its final slash.
pub(super) fn cdn_base(text: &str) -> Result<String, ValueError> {
    const WANTED: ValueError = ValueError::Not("an http or https URL of at most 255 bytes");
    let url = url::Url::parse(text).map_err(|_| WANTED)?;
    let sound = matches!(url.scheme(), "http" | "https")
        && text.len() <= CDN_BASE_BYTES_MAX
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    sound.then(|| text.trim_end_matches('/').to_owned()).ok_or(WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allow_lists_take_networks_addresses_and_hosts() {
        for (text, read) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1/32", "127.0.0.1/32"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1"),
            ("Hooks.Internal", "hooks.internal"),
            ("*.internal", "*.internal"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(allowed(text).as_deref(), Ok(read), "{text}");
        }
        for text in [
            "",
            "http://a.example",
            "a.example:80",
            "a.example/",
            "10.0.0.0/33",
            "127.1",
            "0x7f000001",
            "*.*.a",
            "*.",
            "a b",
        ] {
            assert!(allowed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn encryption_keys_have_32_bytes() {
        let zero = EncryptionKey::new([0; 32]);
        assert_eq!(encryption_key(&"0".repeat(64)), Ok(zero.clone()));
        assert_eq!(encryption_key(&format!("{}=", "A".repeat(43))), Ok(zero.clone()));
        assert_eq!(encryption_key(&"A".repeat(43)), Ok(zero));
        let high = EncryptionKey::new([0xff; 32]);
        assert_eq!(encryption_key(&"fF".repeat(32)), Ok(high.clone()));
        assert_eq!(encryption_key(&format!("{}8=", "_".repeat(42))), Ok(high.clone()));
        assert_eq!(encryption_key(&format!("{}8=", "/".repeat(42))), Ok(high));
        for text in ["", "secret", &"0".repeat(62), &"A".repeat(44), &"g".repeat(64)] {
            assert!(encryption_key(text).is_err(), "{text:?}");
        }
        assert!(!format!("{:?}", EncryptionKey::new([7; 32])).contains('7'));
    }

    #[test]
    fn proxies() {
        let read = proxy("http://us%40er:p%3Aw@proxy.internal:3128").expect("sound");
        let read = read.expect("a proxy");
        assert_eq!(read.origin.to_string(), "http://proxy.internal:3128");
        assert!(read.credentials.expect("credentials").matches("us@er:p:w"));
        assert_eq!(proxy("none"), Ok(None));
        for text in ["", "proxy:3128", "https://p:1", "http://p:1/x", "socks5://p:1", "http://p:0"]
        {
            assert!(proxy(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_rest() {
        assert!(address("127.0.0.1:8080").is_ok() && address("[::1]:0").is_ok());
        for text in ["localhost:8080", "8080", ":8080", "127.0.0.1"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(cdn_base("https://ucarecdn.com/").as_deref(), Ok("https://ucarecdn.com"));
        assert!(cdn_base("ucarecdn.com").is_err() && cdn_base("https://a/?x").is_err());
        assert!(user_agent("a\r\nb").is_err() && user_agent("Shop/1 (x)").is_ok());
        assert!(key("a:b").is_err() && name("\n").is_err() && event_name("a b").is_err());
    }
}
