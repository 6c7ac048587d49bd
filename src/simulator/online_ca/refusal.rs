//! The errors of the two services and how each spells them.
//!
//! Pure. A refusal says what is wrong; the flavour decides on status, headers and body.

use axum::body::Body;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::settings::Flavour;
use crate::simulator::answer::{
    TEXT_HTML, TEXT_HTML_UTF8, TEXT_PLAIN, empty, with_body, with_header,
};

/// The page of the server in front of the Contrail service.
const FRONT_SERVER_ERROR: &str = "<html>\n<head>\n<title>Internal Server Error</title>\n</head>\n\
                                  <body>\n<h1><p>Internal Server Error</p></h1>\n\n</body>\n\
                                  </html>\n";

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no Authorization header, or (Contrail) one of another scheme.
    MissingCredentials,
    /// User or password are wrong.
    WrongCredentials,
    /// The client register does not allow this client certificate this user.
    NotRegistered,
    /// Django: some other way of authenticating did not authenticate.
    NotAuthenticated,
    /// The verb is not the one this path takes.
    WrongVerb { verb: String, allow: &'static str },
    /// The form has no `certificate_request`.
    MissingField,
    /// The field is base64 with wrong padding.
    BadBase64,
    /// The field is not a certificate request.
    NotACsr,
    /// Nobody catches the exception: key too small, subject refused, malformed credentials.
    Uncaught,
    /// No such path.
    UnknownPath,
    /// The body is larger than any real request. The services know no such limit; the simulator has
    /// one.
    TooLarge,
}

impl Refusal {
    /// The answer of this flavour.
    pub(super) fn answer(
        &self,
        flavour: Flavour,
        realm: &str,
        accept: Option<&str>,
    ) -> Response<Body> {
        match flavour {
            Flavour::Contrail => self.contrail(realm, accept),
            Flavour::Django => self.django(realm),
        }
    }

    fn contrail(&self, realm: &str, accept: Option<&str>) -> Response<Body> {
        match self {
            // The filter adds the challenge only to its own refusal, not to that of the password
            // check behind it.
            Self::MissingCredentials => challenged(
                contrail_page(StatusCode::UNAUTHORIZED, "No username set", accept),
                realm,
            ),
            Self::WrongCredentials | Self::NotRegistered | Self::NotAuthenticated => {
                contrail_page(StatusCode::UNAUTHORIZED, "", accept)
            }
            Self::WrongVerb { verb, allow } => {
                let page = contrail_page(
                    StatusCode::METHOD_NOT_ALLOWED,
                    &format!("HTTP Request method {verb} not recognised"),
                    accept,
                );
                with_header(page, ALLOW, allow)
            }
            Self::MissingField | Self::NotACsr => contrail_page(
                StatusCode::BAD_REQUEST,
                "Error loading input certificate request",
                accept,
            ),
            // The front server's page: what the application raises and nobody catches does not look
            // at Accept.
            Self::BadBase64 | Self::Uncaught => {
                with_body(StatusCode::INTERNAL_SERVER_ERROR, TEXT_HTML, FRONT_SERVER_ERROR)
            }
            Self::UnknownPath => {
                with_body(StatusCode::NOT_FOUND, TEXT_HTML, "The resource could not be found.")
            }
            Self::TooLarge => contrail_page(StatusCode::PAYLOAD_TOO_LARGE, "", accept),
        }
    }

    fn django(&self, realm: &str) -> Response<Body> {
        match self {
            Self::MissingCredentials | Self::WrongCredentials => {
                challenged(empty(StatusCode::UNAUTHORIZED), realm)
            }
            Self::NotRegistered | Self::NotAuthenticated => empty(StatusCode::FORBIDDEN),
            Self::WrongVerb { allow, .. } => {
                with_header(empty(StatusCode::METHOD_NOT_ALLOWED), ALLOW, allow)
            }
            Self::MissingField => with_body(
                StatusCode::BAD_REQUEST,
                TEXT_PLAIN,
                "Missing POST parameter certificate_request.",
            ),
            Self::BadBase64 | Self::NotACsr => {
                with_body(StatusCode::BAD_REQUEST, TEXT_PLAIN, "Error loading certificate request.")
            }
            Self::Uncaught => with_body(
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT_HTML_UTF8,
                django_page("Server Error (500)", ""),
            ),
            Self::UnknownPath => with_body(
                StatusCode::NOT_FOUND,
                TEXT_HTML_UTF8,
                django_page("Not Found", "The requested resource was not found on this server."),
            ),
            Self::TooLarge => empty(StatusCode::PAYLOAD_TOO_LARGE),
        }
    }
}

/// The page Django sends for an error when it does not run in debug mode.
fn django_page(title: &str, text: &str) -> String {
    format!(
        "\n<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>{title}</title>\n</head>\n\
         <body>\n  <h1>{title}</h1><p>{text}</p>\n</body>\n</html>\n"
    )
}

fn challenged(response: Response<Body>, realm: &str) -> Response<Body> {
    with_header(response, WWW_AUTHENTICATE, &format!("Basic realm=\"{realm}\""))
}

/// An HTTP exception of the Contrail service: HTML, or lines of text for a client that wants
/// neither HTML nor anything.
fn contrail_page(status: StatusCode, detail: &str, accept: Option<&str>) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or_default();
    let explanation = match status {
        StatusCode::BAD_REQUEST => {
            "The server could not comply with the request since it is either malformed or \
             otherwise incorrect."
        }
        StatusCode::UNAUTHORIZED => {
            "This server could not verify that you are authorized to access the document you \
             requested.  Either you supplied the wrong credentials (e.g., bad password), or your \
             browser does not understand how to supply the credentials required."
        }
        StatusCode::METHOD_NOT_ALLOWED => "The method is not allowed for this resource.",
        _ => "The request was refused.",
    };
    if accept.is_none_or(|accept| accept.contains("html") || accept.contains("*/*")) {
        let detail = detail.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let title = format!("{} {title}", status.as_u16());
        let page = format!(
            "<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n  \
             {explanation}<br /><br />\n{detail}\n\n </body>\n</html>"
        );
        with_body(status, TEXT_HTML, page)
    } else {
        with_body(
            status,
            TEXT_PLAIN,
            format!("{} {title}\n{explanation}\n\n{detail}\n", status.as_u16()),
        )
    }
}
