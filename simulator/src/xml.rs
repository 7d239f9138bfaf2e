//! Rendering of answers, byte for byte in Alipay's shape: one line, an echo of all parameters,
//! business fields in alphabetical order, `sign` before `sign_type` (`docs/protocol.md` 4.1). The
//! signature covers the business fields in the charset of the answer. Faults of the answer's content
//! are applied here.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    charset::Charset,
    fault::Fault,
    params::Message,
    signing::{self, Keys},
};

/// The children of the business element, by name.
pub(crate) type Fields = BTreeMap<&'static str, String>;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// `is_success=T` with a business element.
    Business(Fields),
    /// `is_success=F` with this code.
    Refusal(String),
}

/// A rendered answer.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// For the HTTP header.
    pub(crate) charset: &'static str,
}

/// A gateway refusal: unsigned, without an echo (captured shape, `docs/protocol.md` 3.4).
fn refusal(code: &str) -> Body {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <alipay><is_success>F</is_success><error>{}</error></alipay>",
        escape(code)
    );
    Body {
        bytes: text.into_bytes(),
        charset: "utf-8",
    }
}

/// Renders `content` as the answer to `message`, spoilt by `fault`. `forged` is what a lying answer
/// would claim.
pub(crate) fn render(
    keys: &Keys,
    message: &Message,
    content: &Content,
    fault: Option<&Fault>,
    forged: &Fields,
) -> anyhow::Result<Body> {
    let fields = match content {
        Content::Refusal(code) => return Ok(refusal(code)),
        Content::Business(fields) => alter(fields.clone(), fault),
    };
    let charset = match fault {
        Some(Fault::Gbk) => Charset::Gbk,
        Some(Fault::Gb2312) => Charset::Gb2312,
        Some(Fault::WrongCharset) => Charset::Utf8,
        _ => message.answer_charset,
    };
    let mut xml = format!("<?xml version=\"1.0\" encoding=\"{}\"?>", charset.label());
    if fault == Some(&Fault::Doctype) {
        xml.push_str("<!DOCTYPE alipay [<!ENTITY paid \"SUCCESS\">]>");
    }
    xml.push_str("<alipay><is_success>T</is_success>");
    xml.push_str(&echo(message, fault));
    if fault == Some(&Fault::SecondResponse) {
        xml.push_str(&response(&elements(forged)));
    }
    xml.push_str(&response(&business(&fields, fault, forged)));
    xml.push_str(&signature(keys, charset, &fields, fault)?);
    xml.push_str("</alipay>");
    let bytes = match fault {
        Some(Fault::WrongCharset) => Charset::Gbk.encode(&xml),
        Some(Fault::TruncatedXml) => halve(charset.encode(&xml)),
        _ => charset.encode(&xml),
    };
    Ok(Body {
        bytes,
        charset: charset.label(),
    })
}

fn halve(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// The faults that change what is signed: the answer is genuine, only wrong.
fn alter(mut fields: Fields, fault: Option<&Fault>) -> Fields {
    let mut set = |name: &'static str, value: String| {
        if fields.contains_key(name) {
            fields.insert(name, value);
        }
    };
    match fault {
        Some(Fault::WrongId) => {
            for name in ["partner_trans_id", "out_trade_no"] {
                set(name, "ANOTHER_PAYMENT".to_owned());
            }
            for name in ["partner_refund_id", "out_return_no"] {
                set(name, "ANOTHER_REFUND".to_owned());
            }
            set("store_id", "ANOTHER_STORE".to_owned());
        }
        Some(Fault::WrongAmount) => {
            for name in ["trans_amount", "refund_amount"] {
                if let Some((whole, cents)) = fields.get(name).and_then(|text| text.split_once('.'))
                    && let Ok(whole) = whole.parse::<i64>()
                {
                    let more = format!("{}.{cents}", whole + 1);
                    fields.insert(name, more);
                }
            }
        }
        Some(Fault::WrongCurrency) => set("currency", "USD".to_owned()),
        Some(Fault::UnknownFields) => {
            set(
                "alipay_buyer_login_id",
                "852-****0001-of-a-longer-form@wallet.example".to_owned(),
            );
            set(
                "alipay_buyer_user_id",
                "2088000000000099000000000000000099".to_owned(),
            );
            fields.insert("discount_amount", "0.00".to_owned());
            fields.insert("wallet_brand_name", "Some Wallet & Co <beta>".to_owned());
        }
        Some(Fault::Gbk | Fault::Gb2312 | Fault::WrongCharset) => {
            fields.insert("display_message", "交易完成".to_owned());
        }
        Some(Fault::Omit { fields: names }) => {
            fields.retain(|name, _| !names.split(',').any(|omitted| omitted == *name));
        }
        Some(Fault::Oversized) => {
            fields.insert("padding", "x".repeat(300 * 1024));
        }
        _ => {}
    }
    fields
}

/// Every request parameter, as it came.
fn echo(message: &Message, fault: Option<&Fault>) -> String {
    let mut xml = String::from("<request>");
    for param in message.params() {
        let value = match (fault, param.name.as_str()) {
            (Some(Fault::WrongPartner), "partner") => "2088999999999999",
            _ => &param.value,
        };
        // Writing to a `String` cannot fail.
        let _ = write!(
            xml,
            "<param name=\"{}\">{}</param>",
            escape(&param.name),
            escape(value)
        );
    }
    xml.push_str("</request>");
    xml
}

fn response(business: &str) -> String {
    format!("<response><alipay>{business}</alipay></response>")
}

fn elements(fields: &Fields) -> String {
    let mut xml = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a `String` cannot fail.
        let _ = write!(xml, "<{name}>{}</{name}>", escape(value));
    }
    xml
}

fn business(fields: &Fields, fault: Option<&Fault>, forged: &Fields) -> String {
    let plain = elements(fields);
    match fault {
        Some(Fault::DuplicateElement) => {
            // A refund query says its result in another place.
            let name = if fields.contains_key("result_code") {
                "result_code"
            } else {
                "refund_result_code"
            };
            let lie = match fields.get(name).map(String::as_str) {
                Some("SUCCESS") => "FAILED",
                _ => "SUCCESS",
            };
            plain.replacen(
                &format!("<{name}>"),
                &format!("<{name}>{lie}</{name}><{name}>"),
                1,
            )
        }
        Some(Fault::CommentSuccess) => format!("{plain}<!--{}-->", elements(forged)),
        Some(Fault::CdataSuccess) => plain.replacen(
            &format!("<memo>{}</memo>", escape(CDATA)),
            &format!("<memo><![CDATA[{CDATA}]]></memo>"),
            1,
        ),
        _ => plain,
    }
}

/// The text of the CDATA section, which is signed as the text that it is.
pub(crate) const CDATA: &str = "<result_code>SUCCESS</result_code>";

fn signature(
    keys: &Keys,
    charset: Charset,
    fields: &Fields,
    fault: Option<&Fault>,
) -> anyhow::Result<String> {
    let encoded: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), charset.encode(value)))
        .collect();
    let text = signing::canonical(
        encoded
            .iter()
            .map(|(name, value)| (*name, value.as_slice())),
    );
    let agreed = keys.sign_type().label();
    let (sign, sign_type) = match fault {
        Some(Fault::MissingSignature | Fault::ForgedSuccess) => return Ok(String::new()),
        Some(Fault::WrongSignatureKey) => (keys.sign_with_wrong_key(&text), agreed),
        Some(Fault::DowngradeSignType) => keys.sign_downgraded(&text),
        _ => (keys.sign(&text)?, agreed),
    };
    Ok(format!(
        "<sign>{sign}</sign><sign_type>{sign_type}</sign_type>"
    ))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] =
        b"_input_charset=UTF-8&partner=2088000000000001&partner_trans_id=HKT0000002\
        &service=alipay.acquire.overseas.query&sign=s%26&sign_type=MD5";

    fn keys() -> Keys {
        Keys::Md5 {
            key: "0123456789abcdef0123456789abcdef".to_owned(),
        }
    }

    fn not_found() -> Content {
        Content::Business(Fields::from([
            ("result_code", "FAIL".to_owned()),
            ("partner_trans_id", "HKT0000002".to_owned()),
            ("out_trade_no", "HKT0000002".to_owned()),
            ("detail_error_des", "交易不存在".to_owned()),
            ("detail_error_code", "TRADE_NOT_EXIST".to_owned()),
        ]))
    }

    fn rendered(query: &[u8], body: &[u8], fault: Option<&Fault>) -> Body {
        let message = Message::parse(query, body).unwrap();
        let forged = Fields::from([("result_code", "SUCCESS".to_owned())]);
        render(&keys(), &message, &not_found(), fault, &forged).unwrap()
    }

    fn text(fault: Option<&Fault>) -> String {
        String::from_utf8(rendered(QUERY, b"", fault).bytes).unwrap()
    }

    const ECHO: &str = "<request><param name=\"_input_charset\">UTF-8</param>\
        <param name=\"partner\">2088000000000001</param>\
        <param name=\"partner_trans_id\">HKT0000002</param>\
        <param name=\"service\">alipay.acquire.overseas.query</param>\
        <param name=\"sign\">s&amp;</param><param name=\"sign_type\">MD5</param></request>";
    const BUSINESS: &str = "<detail_error_code>TRADE_NOT_EXIST</detail_error_code>\
        <detail_error_des>交易不存在</detail_error_des><out_trade_no>HKT0000002</out_trade_no>\
        <partner_trans_id>HKT0000002</partner_trans_id><result_code>FAIL</result_code>";

    #[test]
    fn an_answer_has_alipays_shape_and_the_vectors_signature() {
        let expected = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><alipay><is_success>T</is_success>{ECHO}\
             <response><alipay>{BUSINESS}</alipay></response>\
             <sign>61152e108e48d4022071cd265d82e5aa</sign><sign_type>MD5</sign_type></alipay>"
        );
        assert_eq!(text(None), expected);
    }

    #[test]
    fn without_the_charset_in_the_url_the_answer_is_gbk() {
        let body = rendered(b"", QUERY, None);
        assert_eq!(body.charset, "GBK");
        let text = Charset::Gbk.decode(&body.bytes).unwrap();
        assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"GBK\"?><alipay>"));
        assert!(text.contains("交易不存在"));
        assert!(text.contains("<sign>e222047f4da1c1197456796cbd4477f9</sign>"));
    }

    #[test]
    fn faults_spoil_what_they_say() {
        assert!(!text(Some(&Fault::MissingSignature)).contains("<sign>"));
        assert!(
            !text(Some(&Fault::WrongSignatureKey)).contains("61152e108e48d4022071cd265d82e5aa")
        );
        assert!(text(Some(&Fault::Doctype)).contains("<!DOCTYPE"));
        assert!(
            text(Some(&Fault::DuplicateElement))
                .contains("<result_code>SUCCESS</result_code><result_code>FAIL</result_code>")
        );
        assert!(
            text(Some(&Fault::SecondResponse))
                .matches("<response>")
                .count()
                == 2
        );
        assert!(text(Some(&Fault::WrongPartner)).contains("2088999999999999"));
        assert!(
            text(Some(&Fault::CommentSuccess))
                .contains("<!--<result_code>SUCCESS</result_code>-->")
        );
        assert!(text(Some(&Fault::Oversized)).len() > 256 * 1024);
        assert!(text(Some(&Fault::WrongId)).contains("<out_trade_no>ANOTHER_PAYMENT<"));
        let wrong = rendered(QUERY, b"", Some(&Fault::WrongCharset)).bytes;
        assert!(String::from_utf8(wrong).is_err());
    }

    #[test]
    fn a_refusal_is_short_and_unsigned() {
        assert_eq!(
            refusal("ILLEGAL_SIGN").bytes,
            b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<alipay><is_success>F</is_success><error>ILLEGAL_SIGN</error></alipay>"
        );
    }
}
