//! What every outside system keeps, certificate authority or not, whatever it speaks.
//!
//! [`rules`] are put to every row of the table below: those that exist, against the simulator, and a
//! thin one of each kind that the trait has to hold. [`hub`] is no CA and shares the transport.
//! [`client_certificates`] is about that transport, against real TLS servers.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests play the world outside, with its clocks, and tell by failing"
)]

mod authority;
mod broken;
mod cert_service;
mod client_certificates;
mod free_in_time;
mod hub;
#[path = "../support/judges.rs"]
mod judges;
mod online_ca;
mod paid_at_once;
mod reseller;
mod rules;
mod ssl_purchase;
mod swisssign;
mod thin;
mod wire;

macro_rules! rows {
    ($($name:ident: $row:ty;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                rules::hold::<$row>().await;
            }
        )*

        #[test]
        fn every_kind_of_ca_has_a_row() {
            let fields = [$(<$row as rules::Row>::field()),*];
            for kind in chancery::ca::registry::KINDS {
                assert!(fields.contains(&Some(kind.field())), "{}", kind.field());
            }
        }
    };
}

rows! {
    contrail: online_ca::OnlineCa<false, false>;
    contrail_with_credentials_of_the_request: online_ca::OnlineCa<false, true>;
    django: online_ca::OnlineCa<true, false>;
    ssl_purchase: ssl_purchase::SslPurchase<false>;
    ssl_purchase_with_tokens: ssl_purchase::SslPurchase<true>;
    swisssign: swisssign::SwissSign;
    reseller_that_renews_by_id: reseller::Reseller;
    cert_service_with_keys_and_client_certificate: cert_service::CertService;
    free_and_in_time: free_in_time::FreeInTime;
    paid_and_at_once: paid_at_once::PaidAtOnce;
}
