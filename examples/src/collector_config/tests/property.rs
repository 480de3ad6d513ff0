use proptest::prelude::*;

use otlp_auth::config::BearerTokenAuthConfig;

use super::super::CollectorConfig;

/// Files in which one setting has the secret as its value. Together they cover all settings that
/// take a value.
const PLACES: [&str; 15] = [
    "extensions: ${S}",
    "extensions: {bearertokenauth: '${S}'}\nservice: {extensions: [bearertokenauth]}",
    "extensions: {bearertokenauth: {token: '${S} ${S}'}}\nservice: {extensions: [bearertokenauth]}",
    "extensions: {bearertokenauth: {tokens: '${S}'}}\nservice: {extensions: [bearertokenauth]}",
    "extensions: {bearertokenauth: {token: a, scheme: '${S}'}}\nservice: {extensions: [bearertokenauth]}",
    "extensions: {bearertokenauth: {token: a, header: '${S}'}}\nservice: {extensions: [bearertokenauth]}",
    "service: {extensions: ['${S}', 'bearertokenauth/${S}']}",
    "exporters: ${S}",
    "exporters: {otlp: '${S}'}",
    "exporters: {otlp: {endpoint: '${S}', timeout: '${S}', compression: '${S}', headers: '${S}', auth: '${S}', tls: '${S}'}}",
    "exporters: {otlphttp: {endpoint: 'http://${S}', traces_endpoint: '${S}', headers: {a: '${S}'}, retry_on_failure: '${S}'}}",
    "exporters: {otlp: {endpoint: 'https://${S}:1', headers: [{name: '${S}', value: '${S}'}], auth: {authenticator: '${S}'}}}",
    "exporters: {otlp: {endpoint: 'a:1', tls: {insecure: '${S}', ca_file: '${S}', min_version: '${S}'}, sending_queue: '${S}'}}",
    "exporters: {otlphttp: {traces_endpoint: 'http://a/b?c=${S}', headers: {a: '${S}'}, tls: {ca_pem: '${S}'}}}",
    "${S}: 1\n'${file:${S}}': '${file:${S}}'\nexporters: {otlp: {endpoint: '${file:${S}}', timeout: '${${S}}'}}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Scenario: an arbitrary secret is the value of any setting of a file.
    /// Guarantee: no problem, no warning and no `Debug` output contains the secret.
    #[test]
    fn no_output_holds_a_secret(before in "[a-z:{}\\[\\]$\" \n-]{0,6}", after in "[a-z:{}\\[\\], $\"\n-]{0,6}") {
        let secret = format!("{before}canary{after}");
        for place in PLACES {
            let output = match CollectorConfig::from_yaml(place, &|name| (name == "S").then(|| secret.clone())) {
                Ok(config) => format!("{:?} {config:?}", config.warnings()),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!output.contains("canary"), "{place}: {output}");
        }
        let block = BearerTokenAuthConfig::from_yaml("token: ${S}", &|_| Some(secret.clone()));
        let output = format!("{block:?}");
        prop_assert!(!output.contains("canary"), "{output}");
    }

    /// Scenario: an arbitrary text is read as a file and as an endpoint.
    /// Guarantee: nothing panics, and every refusal has a reason.
    #[test]
    fn never_panics(text in any::<String>(), endpoint in any::<String>()) {
        let file = "exporters: {otlp: {endpoint: '${E}'}, otlphttp: {endpoint: 'http://${E}', logs_endpoint: 'https://${E}'}}";
        let env = |_: &str| Some(endpoint.clone());
        for result in [CollectorConfig::from_yaml(&text, &env), CollectorConfig::from_yaml(file, &env)] {
            if let Err(error) = result {
                prop_assert!(!error.problems().is_empty());
            }
        }
    }
}
