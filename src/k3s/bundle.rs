//! The certificates at `/cacerts`, and the hash by which a token names them.

use reqwest::Certificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

/// Most certificates among which a way to a root is looked for: a server of K3s has half a dozen at most, and whoever
/// answers instead is not to keep us busy.
const MAX_LINKS: usize = 32;

/// At least one certificate.
pub(super) struct Bundle {
    pem: Vec<u8>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// Reads PEM; `None` if it holds no certificate, or something that is none.
    pub(super) fn read(pem: Vec<u8>) -> Option<Self> {
        let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.ok().filter(|found| !found.is_empty())?;
        Some(Self { pem, certificates })
    }

    /// What agents trust of it if their token names no CA: everything.
    pub(super) fn all(&self) -> Vec<Certificate> {
        trusted(&self.certificates)
    }

    /// What can be trusted of it if this is its hash: of one certificate, as of several that lead to no root, that of
    /// the PEM text; else that of the root, as an authority may be replaced below it. The hash of the root vouches for
    /// what leads to it, and for nothing else that is in the bundle.
    pub(super) fn proved_by(&self, hash: &str) -> Option<Vec<Certificate>> {
        let links: Option<Vec<Link<'_>>> = self.certificates.iter().map(Link::read).collect();
        let links = links.filter(|links| links.len() <= MAX_LINKS);
        match links.as_deref().and_then(way_to_root) {
            Some(way) => {
                let root = way.last()?;
                let authorities = way.iter().filter(|link| link.parsed.is_ca());
                is_hash_of(hash, root.der).then(|| trusted(authorities.map(|link| link.der)))
            }
            None => is_hash_of(hash, &self.pem).then(|| self.all()),
        }
    }
}

fn trusted<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Vec<Certificate> {
    let certificates = certificates.into_iter();
    certificates.filter_map(|der| Certificate::from_der(der).ok()).collect()
}

fn is_hash_of(hash: &str, bytes: &[u8]) -> bool {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.eq_ignore_ascii_case(hash)
}

/// A certificate, perhaps of a chain.
struct Link<'a> {
    der: &'a CertificateDer<'static>,
    parsed: X509Certificate<'a>,
}

impl<'a> Link<'a> {
    fn read(der: &'a CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(Self { der, parsed })
    }

    /// As K3s tells roots: what names no key that signed it, or its own.
    fn is_root(&self) -> bool {
        let ids = self
            .parsed
            .extensions()
            .iter()
            .map(|extension| extension.parsed_extension());
        let (mut own, mut signer) = (None, None);
        for id in ids {
            match id {
                ParsedExtension::SubjectKeyIdentifier(id) => own = Some(id.0),
                ParsedExtension::AuthorityKeyIdentifier(id) => signer = id.key_identifier.as_ref().map(|id| id.0),
                _ => {}
            }
        }
        signer.is_none() || signer == own
    }

    fn is_signed_by(&self, other: &Self) -> bool {
        let key = other.parsed.public_key();
        self.parsed.issuer() == other.parsed.subject() && self.parsed.verify_signature(Some(key)).is_ok()
    }

    /// Whether both are certificates of one key and name. A chain has only one of them.
    fn is_twin_of(&self, other: &Self) -> bool {
        self.parsed.subject() == other.parsed.subject() && self.parsed.public_key() == other.parsed.public_key()
    }
}

/// From the first certificate, with which the server signs, to a root among the others.
fn way_to_root<'l, 'd>(links: &'l [Link<'d>]) -> Option<Vec<&'l Link<'d>>> {
    let (first, others) = links.split_first()?;
    if others.iter().any(|other| other.is_root() && other.der == first.der) {
        return Some(vec![first]);
    }
    way_on(&[first], &mut others.iter().collect())
}

/// A root that signed the end of `way`, or a way on over another certificate that did. None is tried twice.
fn way_on<'l, 'd>(way: &[&'l Link<'d>], untried: &mut Vec<&'l Link<'d>>) -> Option<Vec<&'l Link<'d>>> {
    let end = way.last()?;
    let fits = |other: &Link<'d>| end.is_signed_by(other) && !way.iter().any(|link| link.is_twin_of(other));
    if let Some(root) = untried.iter().find(|other| other.is_root() && fits(other)) {
        return Some([way, &[*root]].concat());
    }
    while let Some(next) = untried.iter().position(|other| fits(other)) {
        let next = untried.remove(next);
        let found = way_on(&[way, &[next]].concat(), untried);
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    /// An authority, which signs others.
    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
        der: Vec<u8>,
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    impl Authority {
        fn root(name: &str) -> Self {
            let (params, key) = (params(name), KeyPair::generate().unwrap());
            let made = params.self_signed(&key).unwrap();
            Self {
                pem: made.pem(),
                der: made.der().to_vec(),
                issuer: Issuer::new(params, key),
            }
        }

        fn below(&self, name: &str) -> Self {
            let (params, key) = (params(name), KeyPair::generate().unwrap());
            let made = params.signed_by(&key, &self.issuer).unwrap();
            Self {
                pem: made.pem(),
                der: made.der().to_vec(),
                issuer: Issuer::new(params, key),
            }
        }

        /// The certificate that `other` gives to the key of this one.
        fn cross_signed_by(&self, name: &str, other: &Self) -> String {
            params(name).signed_by(self.issuer.key(), &other.issuer).unwrap().pem()
        }
    }

    fn hash(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many certificates of the bundle are trusted if a token names it by this hash.
    fn proved(bundle: &str, hash: &str) -> Option<usize> {
        let bundle = Bundle::read(bundle.as_bytes().to_vec()).unwrap();
        bundle.proved_by(hash).map(|trusted| trusted.len())
    }

    #[test]
    fn one_certificate_is_named_by_its_text() {
        let root = Authority::root("a");
        assert_eq!(proved(&root.pem, &hash(root.pem.as_bytes())), Some(1));
        assert_eq!(proved(&root.pem, &hash(&root.der)), None);
        assert_eq!(proved(&root.pem, "other"), None);
    }

    #[test]
    fn a_chain_is_named_by_its_root_which_vouches_for_nothing_else() {
        let (root, stranger) = (Authority::root("a"), Authority::root("b"));
        let middle = root.below("middle");
        let server = middle.below("server");
        let chain = format!("{}{}{}{}", server.pem, stranger.pem, root.pem, middle.pem);
        assert_eq!(proved(&chain, &hash(&root.der)), Some(3));
        for other in [&stranger.der, &middle.der, chain.as_bytes()] {
            assert_eq!(proved(&chain, &hash(other)), None);
        }
    }

    #[test]
    fn a_rotated_authority_is_named_by_its_new_root_although_the_old_one_signed_it_too() {
        let (old, new) = (Authority::root("old"), Authority::root("new"));
        let server = new.below("server");
        let bundle = format!(
            "{}{}{}{}",
            server.pem,
            new.pem,
            new.cross_signed_by("new", &old),
            old.pem
        );
        assert_eq!(proved(&bundle, &hash(&new.der)), Some(2));
        assert_eq!(proved(&bundle, &hash(&old.der)), None);
    }

    #[test]
    fn certificates_that_lead_to_no_root_are_named_by_their_text() {
        let (first, second) = (Authority::root("a"), Authority::root("b"));
        let bundle = format!("{}{}", first.pem, second.pem);
        assert_eq!(proved(&bundle, &hash(bundle.as_bytes())), Some(2));
        assert_eq!(proved(&bundle, &hash(&second.der)), None);
        let impostor = Authority::root("c").below("server");
        let named_alike = format!("{}{}", impostor.pem, Authority::root("c").pem);
        assert_eq!(proved(&named_alike, &hash(named_alike.as_bytes())), Some(2));
    }

    #[test]
    fn what_is_not_all_certificates_is_no_bundle() {
        for text in ["", "<html>", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            assert!(Bundle::read(text.as_bytes().to_vec()).is_none(), "{text}");
        }
    }
}
