//! Who is calling, and what they may do. Credentials are judged here and nowhere else; rights are checked by [`crate::Access`] on
//! canonical typed names, after translation.

use crate::sign::Signer;
use aws_lc_rs::digest;
use sb_core::model::{Address, Error, JobId, Kind, Pattern, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What one can be allowed to do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Send messages to an address.
    Publish,
    /// Read messages of an address.
    Read,
    /// Lease and settle messages of a topic's groups.
    Consume,
    /// Call a method, watch and cancel its jobs.
    Call,
    /// Work on a method's jobs.
    Serve,
    /// Declare and delete topics, groups and methods.
    Manage,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Publish => "publish",
            Verb::Read => "read",
            Verb::Consume => "consume",
            Verb::Call => "call",
            Verb::Serve => "serve",
            Verb::Manage => "manage",
        }
    }
}

/// What a role allows: for each verb the patterns of addresses, topics or methods. Nothing else is allowed.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Addresses.
    pub publish: Vec<Pattern>,
    /// Addresses.
    pub read: Vec<Pattern>,
    /// Topics.
    pub consume: Vec<Pattern>,
    /// Methods, as addresses (`package.Service.Method`).
    pub call: Vec<Pattern>,
    /// Methods, as addresses.
    pub serve: Vec<Pattern>,
    /// Topics, and methods as addresses.
    pub manage: Vec<Pattern>,
    /// Everything.
    pub admin: bool,
}

impl Grants {
    fn of(&self, verb: Verb) -> &[Pattern] {
        match verb {
            Verb::Publish => &self.publish,
            Verb::Read => &self.read,
            Verb::Consume => &self.consume,
            Verb::Call => &self.call,
            Verb::Serve => &self.serve,
            Verb::Manage => &self.manage,
        }
    }

    /// Adds what another role allows.
    pub fn add(&mut self, other: &Grants) {
        self.publish.extend_from_slice(&other.publish);
        self.read.extend_from_slice(&other.read);
        self.consume.extend_from_slice(&other.consume);
        self.call.extend_from_slice(&other.call);
        self.serve.extend_from_slice(&other.serve);
        self.manage.extend_from_slice(&other.manage);
        self.admin |= other.admin;
    }
}

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The name, for logs and job records.
    pub name: String,
    /// What it may do.
    pub grants: Grants,
    /// When its credentials end, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// Jobs it may watch besides those of methods it may call.
    pub jobs: Vec<JobId>,
    /// Has given no credentials though some are needed: may do nothing, and is told to log in.
    pub anonymous: bool,
}

impl Principal {
    /// Someone who may do everything.
    pub fn admin(name: &str) -> Self {
        Principal {
            name: name.into(),
            grants: Grants { admin: true, ..Grants::default() },
            expires_ms: None,
            jobs: Vec::new(),
            anonymous: false,
        }
    }

    /// Someone who has given no credentials.
    fn anonymous() -> Self {
        Principal { grants: Grants::default(), anonymous: true, ..Principal::admin("anonymous") }
    }

    /// Refuses those who have given no credentials.
    pub fn known(&self) -> Result<()> {
        if self.anonymous { Err(unauthenticated("no credentials were given")) } else { Ok(()) }
    }

    /// Whether it may do this to this address.
    pub fn may(&self, verb: Verb, address: &Address) -> bool {
        self.grants.admin || self.grants.of(verb).iter().any(|p| p.matches(address))
    }

    /// The same, as a refusal that says what would be needed.
    pub fn check(&self, verb: Verb, address: &Address) -> Result<()> {
        if self.may(verb, address) { Ok(()) } else { Err(self.denied(verb, address.as_str())) }
    }

    /// How much of a pattern it may use.
    pub fn covers(&self, verb: Verb, pattern: &Pattern) -> Cover {
        let grants = self.grants.of(verb);
        if self.grants.admin || grants.iter().any(|g| g.covers(pattern)) {
            Cover::All
        } else if grants.iter().any(|g| g.overlaps(pattern)) {
            Cover::Some
        } else {
            Cover::None
        }
    }

    /// The refusal.
    pub fn denied(&self, verb: Verb, what: &str) -> Error {
        if let Err(error) = self.known() {
            return error;
        }
        Error::new(Kind::Denied, "SB0502", format!("{:?} may not {} {what}", self.name, verb.name()))
            .fix(format!("Grant it to the role in the config: [roles.NAME] {} = [{what:?}]", verb.name()))
    }
}

/// How much of a pattern a principal may use.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Cover {
    /// All of it.
    All,
    /// Part of it: each message is checked.
    Some,
    /// Nothing.
    None,
}

/// A method as the address its grants are written for.
pub fn method_address(method: &str) -> Result<Address> {
    Address::from_segments(method.split(['/', '.']))
}

/// Reads a grant on methods (`code.v1.Runner/*`).
pub fn method_pattern(text: &str) -> Result<Pattern> {
    Pattern::parse(&text.replace('/', "."))
}

/// A trusted issuer of JSON Web Tokens.
pub struct Issuer {
    /// The `iss` claim.
    pub issuer: Option<String>,
    /// The `aud` claim, when it is checked.
    pub audience: Option<String>,
    /// The one algorithm that is accepted.
    pub algorithm: jsonwebtoken::Algorithm,
    /// The key that verifies.
    pub key: jsonwebtoken::DecodingKey,
    /// The claim that names the role or roles.
    pub role_claim: String,
}

/// Judges credentials.
pub struct Authority {
    /// SHA-256 of each API key, and the role it stands for. Hashes have one length, so comparing them in constant time says nothing about the keys.
    keys: Vec<([u8; 32], String)>,
    issuers: Vec<Issuer>,
    roles: BTreeMap<String, Grants>,
    /// Nothing is configured: everyone (on loopback, which the listeners see to) may do everything.
    open: bool,
    anyone: Arc<Principal>,
}

/// What a caller says of itself.
#[derive(Copy, Clone, Debug)]
pub enum Credentials<'a> {
    /// Nothing.
    None,
    /// A bearer token: API key, JWT or a token of ours.
    Token(&'a str),
    /// A name and a password; the password is an API key.
    Password(&'a str, &'a str),
}

#[derive(Serialize, Deserialize)]
struct Claims {
    n: String,
    e: i64,
    #[serde(default)]
    r: Vec<String>,
    #[serde(default)]
    p: Vec<String>,
    #[serde(default)]
    c: Vec<String>,
    #[serde(default)]
    j: Vec<String>,
}

impl Authority {
    /// From the configured keys (secret, role), issuers and roles. A role that is not configured allows nothing.
    pub fn new(
        keys: impl IntoIterator<Item = (String, String)>,
        issuers: Vec<Issuer>,
        roles: BTreeMap<String, Grants>,
    ) -> Self {
        let keys: Vec<_> = keys.into_iter().map(|(secret, role)| (hash(secret.as_bytes()), role)).collect();
        let open = keys.is_empty() && issuers.is_empty();
        let anyone = if open { Principal::admin("anonymous") } else { Principal::anonymous() };
        Authority { keys, issuers, roles, open, anyone: Arc::new(anyone) }
    }

    /// Whether nothing is configured.
    pub fn open(&self) -> bool {
        self.open
    }

    /// Says who is calling, or why that is not believed.
    pub fn judge(
        &self,
        signer: &Signer,
        credentials: Credentials<'_>,
        now_ms: i64,
    ) -> Result<Arc<Principal>> {
        let token = match credentials {
            Credentials::None | Credentials::Token("") => {
                // Without credentials one may still see what is open to all (health, the console's files): rights are checked later.
                return Ok(self.anyone.clone());
            }
            Credentials::Token(token) => token,
            Credentials::Password(_, password) => password,
        };
        if token.len() > 16 * 1024 {
            return Err(unauthenticated("the token is longer than 16 KiB"));
        }
        if token.starts_with("sbt_") {
            return self.judge_own(signer, token, now_ms);
        }
        if self.open {
            // Without configured credentials there is nothing to compare with; what a client sends by habit does no harm.
            return Ok(self.anyone.clone());
        }
        let hashed = hash(token.as_bytes());
        let mut found = None;
        for (key, role) in &self.keys {
            if bool::from(key.ct_eq(&hashed)) {
                found = Some(role);
            }
        }
        if let Some(role) = found {
            return Ok(Arc::new(self.principal(role.clone(), std::slice::from_ref(role), None)));
        }
        if token.split('.').count() == 3 && !self.issuers.is_empty() {
            return self.judge_jwt(token);
        }
        Err(unauthenticated("the key or token is not known"))
    }

    fn principal(&self, name: String, roles: &[String], expires_ms: Option<i64>) -> Principal {
        let mut grants = Grants::default();
        for role in roles {
            if let Some(role) = self.roles.get(role) {
                grants.add(role);
            }
        }
        Principal { name, grants, expires_ms, jobs: Vec::new(), anonymous: false }
    }

    fn judge_jwt(&self, token: &str) -> Result<Arc<Principal>> {
        use jsonwebtoken::errors::ErrorKind;
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| unauthenticated("the JWT is malformed"))?;
        if has_critical_extension(token) {
            return Err(unauthenticated("the JWT demands an extension that this server does not have"));
        }
        let mut why = "the JWT is signed by nobody this server trusts";
        for issuer in &self.issuers {
            // The algorithm is pinned per issuer, so neither `none` nor a public key used as an HMAC secret can pass.
            if header.alg != issuer.algorithm {
                continue;
            }
            let mut validation = jsonwebtoken::Validation::new(issuer.algorithm);
            validation.leeway = 30;
            validation.validate_nbf = true;
            // What is checked must be there: a token without the claim would pass otherwise.
            let mut required = vec!["exp"];
            if let Some(name) = &issuer.issuer {
                validation.set_issuer(&[name]);
                required.push("iss");
            }
            match &issuer.audience {
                Some(audience) => {
                    validation.set_audience(&[audience]);
                    required.push("aud");
                }
                None => validation.validate_aud = false,
            }
            validation.set_required_spec_claims(&required);
            match jsonwebtoken::decode::<serde_json::Value>(token, &issuer.key, &validation) {
                Ok(data) => {
                    let claims = data.claims;
                    let roles: Vec<String> = match claims.get(&issuer.role_claim) {
                        Some(serde_json::Value::String(role)) => vec![role.clone()],
                        Some(serde_json::Value::Array(roles)) => {
                            roles.iter().filter_map(|r| r.as_str().map(str::to_owned)).collect()
                        }
                        _ => Vec::new(),
                    };
                    let name = claims.get("sub").and_then(|s| s.as_str()).unwrap_or("jwt").to_owned();
                    let expires =
                        claims.get("exp").and_then(serde_json::Value::as_f64).map(|s| (s * 1000.0) as i64);
                    return Ok(Arc::new(self.principal(name, &roles, expires)));
                }
                Err(error) => {
                    why = match error.kind() {
                        ErrorKind::ExpiredSignature => return Err(expired()),
                        ErrorKind::InvalidIssuer => "the JWT's issuer is not a configured one",
                        ErrorKind::InvalidAudience => "the JWT is meant for another audience",
                        ErrorKind::ImmatureSignature => "the JWT is not valid yet",
                        ErrorKind::MissingRequiredClaim(_) => "the JWT lacks exp, iss or aud",
                        _ => why,
                    };
                }
            }
        }
        Err(unauthenticated(why))
    }

    fn judge_own(&self, signer: &Signer, token: &str, now_ms: i64) -> Result<Arc<Principal>> {
        let bad = || unauthenticated("this token was not made by this server");
        let claims = signer.open_token(token).ok_or_else(bad)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| bad())?;
        if claims.e <= now_ms {
            return Err(expired());
        }
        let patterns = |list: &[String]| list.iter().map(|t| Pattern::parse(t)).collect::<Result<Vec<_>>>();
        Ok(Arc::new(Principal {
            name: claims.n,
            grants: Grants {
                read: patterns(&claims.r)?,
                publish: patterns(&claims.p)?,
                call: patterns(&claims.c)?,
                ..Grants::default()
            },
            expires_ms: Some(claims.e),
            jobs: claims.j.iter().filter_map(|id| JobId::parse(id)).collect(),
            anonymous: false,
        }))
    }

    /// A token with part of the caller's rights.
    pub fn issue(
        &self,
        signer: &Signer,
        caller: &Principal,
        read: &[Pattern],
        publish: &[Pattern],
        call: &[Pattern],
        jobs: &[JobId],
        expires_ms: i64,
    ) -> Result<(String, i64)> {
        for (verb, patterns) in [(Verb::Read, read), (Verb::Publish, publish), (Verb::Call, call)] {
            for pattern in patterns {
                if caller.covers(verb, pattern) != Cover::All {
                    return Err(caller.denied(verb, pattern.as_str()));
                }
            }
        }
        let expires_ms = caller.expires_ms.map_or(expires_ms, |own| own.min(expires_ms));
        let texts = |patterns: &[Pattern]| patterns.iter().map(|p| p.as_str().to_owned()).collect();
        let claims = Claims {
            n: caller.name.clone(),
            e: expires_ms,
            r: texts(read),
            p: texts(publish),
            c: texts(call),
            j: jobs.iter().map(JobId::to_string).collect(),
        };
        let claims = serde_json::to_vec(&claims).map_err(|e| Error::internal(e.to_string()))?;
        Ok((signer.token(&claims), expires_ms))
    }
}

/// Whether a JWT's header has `crit`: who does not know the extensions it names must refuse the token (RFC 7515 section 4.1.11).
fn has_critical_extension(token: &str) -> bool {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&header).is_ok_and(|header| header.get("crit").is_some())
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn unauthenticated(why: &'static str) -> Error {
    Error::new(Kind::Unauthenticated, "SB0501", why)
        .fix("Send Authorization: Bearer with an API key, a JWT of a configured issuer, or a token of POST /tokens")
}

pub(crate) fn expired() -> Error {
    Error::new(Kind::Unauthenticated, "SB0503", "the token has expired").fix("Get a new one and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<Pattern> {
        list.iter().map(|t| Pattern::parse(t).unwrap()).collect()
    }

    fn authority() -> Authority {
        let shop = Grants {
            publish: patterns(&["orders.>"]),
            read: patterns(&["orders.>", "x"]),
            ..Grants::default()
        };
        Authority::new(
            [("secret".to_owned(), "shop".to_owned())],
            Vec::new(),
            [("shop".to_owned(), shop)].into(),
        )
    }

    #[test]
    fn everything_not_granted_is_refused() {
        let (authority, signer) = (authority(), Signer::new(&[1; 32]));
        let nobody = authority.judge(&signer, Credentials::None, 0).unwrap();
        assert_eq!(nobody.check(Verb::Read, &Address::parse("x").unwrap()).unwrap_err().code, "SB0501");
        assert_eq!(authority.judge(&signer, Credentials::Token("secre"), 0).unwrap_err().code, "SB0501");
        let shop = authority.judge(&signer, Credentials::Password("any", "secret"), 0).unwrap();
        let address = |t| Address::parse(t).unwrap();
        assert!(shop.may(Verb::Publish, &address("orders.eu")));
        assert!(
            !shop.may(Verb::Publish, &address("orders")) && !shop.may(Verb::Manage, &address("orders.eu"))
        );
        assert_eq!(shop.covers(Verb::Read, &Pattern::parse("orders.*.x").unwrap()), Cover::All);
        assert_eq!(shop.covers(Verb::Read, &Pattern::parse("#").unwrap()), Cover::Some);
        assert_eq!(shop.covers(Verb::Read, &Pattern::parse("y.*").unwrap()), Cover::None);
    }

    #[test]
    fn tokens_are_never_more_than_their_maker() {
        let (authority, signer) = (authority(), Signer::new(&[1; 32]));
        let shop = authority.judge(&signer, Credentials::Token("secret"), 0).unwrap();
        assert!(authority.issue(&signer, &shop, &patterns(&[">"]), &[], &[], &[], 100).is_err());
        let (token, _) =
            authority.issue(&signer, &shop, &patterns(&["orders.eu"]), &[], &[], &[JobId(5)], 100).unwrap();
        let scoped = authority.judge(&signer, Credentials::Token(&token), 99).unwrap();
        assert!(scoped.may(Verb::Read, &Address::parse("orders.eu").unwrap()));
        assert!(!scoped.may(Verb::Read, &Address::parse("orders.us").unwrap()));
        assert!(!scoped.may(Verb::Publish, &Address::parse("orders.eu").unwrap()));
        assert_eq!(scoped.jobs, [JobId(5)]);
        assert_eq!(authority.judge(&signer, Credentials::Token(&token), 100).unwrap_err().code, "SB0503");
    }
}
