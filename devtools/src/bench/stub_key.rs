//! A key with which a signature costs a tenth of Alipay's: what the stub spends is lost for what is measured.
//!
//! A modulus of 32 primes of 64 bits: each part of the signature is arithmetic on machine words. Whoever wants to
//! forge it can factor it, which is why it stays in here; a verifier cannot tell, and pays what a key of 2,048 bits costs.

use anyhow::{Context as _, ensure};
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::{BigUint, RsaPublicKey};
use sha2::{Digest as _, Sha256};

const PRIMES: usize = 32;
const EXPONENT: u64 = 65_537;
/// Of the modulus.
const BYTES: usize = 256;
/// What stands before the digest of a signature with SHA-256 (RFC 8017, 9.2).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// The stub's key.
#[derive(Debug)]
pub(super) struct StubKey {
    factors: Vec<Factor>,
    modulus: BigUint,
}

#[derive(Debug)]
struct Factor {
    prime: u64,
    /// Inverse of the public exponent modulo `prime - 1`.
    exponent: u64,
    /// 2^64 modulo the prime: how a long number is reduced word by word.
    word: u64,
    /// Inverse of the product of all primes before, and that product in words, lowest first.
    inverse: u64,
    product: Vec<u64>,
}

impl StubKey {
    /// A new key.
    pub(super) fn generate() -> anyhow::Result<Self> {
        let mut factors: Vec<Factor> = vec![];
        let mut modulus = BigUint::from(1_u32);
        while factors.len() < PRIMES {
            // So close to 2^64 that the product has all of its 2,048 bits.
            let prime = (u64::MAX - (rand::random::<u64>() >> 6)) | 1;
            let known = factors.iter().any(|factor| factor.prime == prime);
            let Some(exponent) = inverse(EXPONENT, prime - 1) else {
                continue;
            };
            if known || !is_prime(prime) {
                continue;
            }
            let product = words(&modulus);
            let before = reduce(&product, prime);
            factors.push(Factor {
                prime,
                exponent,
                word: power(2, 64, prime),
                inverse: inverse(before, prime).context("a prime divides no other")?,
                product,
            });
            modulus *= BigUint::from(prime);
        }
        ensure!(modulus.bits() == BYTES * 8, "the primes are too small");
        Ok(Self { factors, modulus })
    }

    /// The public half as PEM.
    pub(super) fn public_pem(&self) -> anyhow::Result<String> {
        let key = RsaPublicKey::new(self.modulus.clone(), BigUint::from(EXPONENT))?;
        Ok(key.to_public_key_pem(LineEnding::LF)?)
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        let digest = Sha256::digest(text);
        let mut padded = vec![0xff; BYTES];
        let tail = BYTES - DIGEST_INFO.len() - digest.len();
        padded[0] = 0;
        padded[1] = 1;
        padded[tail - 1] = 0;
        padded[tail..tail + DIGEST_INFO.len()].copy_from_slice(&DIGEST_INFO);
        padded[tail + DIGEST_INFO.len()..].copy_from_slice(&digest);
        let message: Vec<u64> = padded.rchunks(8).map(word).collect();

        // Garner: the signature modulo each prime, put together prime by prime.
        let mut signature = vec![0_u64; BYTES / 8];
        for factor in &self.factors {
            let prime = factor.prime;
            let residue = power(factor.reduce(&message), factor.exponent, prime);
            let so_far = factor.reduce(&signature);
            let missing = add(residue, prime - so_far, prime);
            add_product(
                &mut signature,
                &factor.product,
                times(missing, factor.inverse, prime),
            );
        }
        signature
            .iter()
            .rev()
            .flat_map(|word| word.to_be_bytes())
            .collect()
    }
}

impl Factor {
    fn reduce(&self, number: &[u64]) -> u64 {
        number.iter().rev().fold(0, |rest, word| {
            add(
                times(rest, self.word, self.prime),
                word % self.prime,
                self.prime,
            )
        })
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn words(number: &BigUint) -> Vec<u64> {
    number.to_bytes_be().rchunks(8).map(word).collect()
}

fn reduce(number: &[u64], modulus: u64) -> u64 {
    number.iter().rev().fold(0, |rest, word| {
        narrow((u128::from(rest) << 64 | u128::from(*word)) % u128::from(modulus))
    })
}

/// `number += product * by`; there is room for it.
fn add_product(number: &mut [u64], product: &[u64], by: u64) {
    let mut carry = 0_u128;
    let padded = product.iter().copied().chain(std::iter::repeat(0));
    for (digit, part) in number.iter_mut().zip(padded) {
        let sum = u128::from(part) * u128::from(by) + u128::from(*digit) + carry;
        *digit = narrow(sum & u128::from(u64::MAX));
        carry = sum >> 64;
    }
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn add(left: u64, right: u64, modulus: u64) -> u64 {
    narrow((u128::from(left) + u128::from(right)) % u128::from(modulus))
}

fn times(left: u64, right: u64, modulus: u64) -> u64 {
    narrow(u128::from(left) * u128::from(right) % u128::from(modulus))
}

fn power(base: u64, mut exponent: u64, modulus: u64) -> u64 {
    let (mut result, mut square) = (1, base % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, square, modulus);
        }
        square = times(square, square, modulus);
        exponent >>= 1;
    }
    result
}

/// By Euclid; `None` where there is none.
fn inverse(number: u64, modulus: u64) -> Option<u64> {
    let wide = i128::from(modulus);
    let (mut old, mut rest) = (i128::from(number), wide);
    let (mut old_factor, mut factor) = (1_i128, 0_i128);
    while rest != 0 {
        let quotient = old / rest;
        (old, rest) = (rest, old - quotient * rest);
        (old_factor, factor) = (factor, old_factor - quotient * factor);
    }
    (old == 1)
        .then(|| u64::try_from(old_factor.rem_euclid(wide)).ok())
        .flatten()
}

/// Miller and Rabin, with the bases that decide every number of 64 bits.
fn is_prime(number: u64) -> bool {
    let shift = (number - 1).trailing_zeros();
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37]
        .into_iter()
        .all(|base| {
            let mut value = power(base, (number - 1) >> shift, number);
            if value == 1 || value == number - 1 {
                return true;
            }
            (1..shift).any(|_| {
                value = times(value, value, number);
                value == number - 1
            })
        })
}

#[cfg(test)]
mod tests {
    use rsa::Pkcs1v15Sign;

    use super::*;

    #[test]
    fn a_signature_of_the_stub_verifies() {
        let key = StubKey::generate().unwrap();
        let public = RsaPublicKey::new(key.modulus.clone(), BigUint::from(EXPONENT)).unwrap();
        for text in [&b"a=b"[..], b"", b"result_code=SUCCESS"] {
            public
                .verify(
                    Pkcs1v15Sign::new::<Sha256>(),
                    &Sha256::digest(text),
                    &key.sign(text),
                )
                .unwrap();
        }
    }
}
