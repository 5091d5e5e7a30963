//! Rules about `[[routes]]` that one route alone cannot break.

use super::Config;
use super::mistakes::Broken;
use crate::http::{App, Destination};
use crate::tls::Asked;
use crate::view::LARAVEL;

pub(super) fn rules(config: &Config) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (number, route) in config.routes.iter().enumerate() {
        let place = |number: usize, keys: &[&str]| -> Vec<String> {
            let keys = keys.iter().map(|key| format!("routes.{number}.{key}"));
            keys.chain([format!("routes.{number}")]).collect()
        };
        let mut tell = |keys: Vec<String>, message: String| broken.push(Broken { keys, message });
        if let Destination::App(App::Named(name)) | Destination::Files(_, Some(App::Named(name))) =
            &route.to
            && !config.upstreams.contains_key(name)
        {
            tell(
                place(number, &["upstream"]),
                format!("there is no [upstreams.{name}]"),
            );
        }
        if route.client_certificate && config.tls.clients.certificate == Asked::Off {
            let message = "nobody is asked for a certificate: tls.clients.certificate must be \
                           \"optional\" or \"required\"";
            tell(place(number, &["client_certificate"]), message.to_owned());
        }
        let earlier = &config.routes[..number];
        if let Some(above) = earlier.iter().position(|earlier| earlier.covers(route)) {
            let message = format!(
                "this route is never reached: all its requests fit [[routes]] number {} above; \
                 put this one first",
                above + 1
            );
            let fit = ["path", "hosts"];
            tell([place(number, &fit), place(above, &fit)].concat(), message);
        }
    }
    if config.upstreams.contains_key(LARAVEL) {
        broken.push(Broken {
            keys: vec![format!("upstreams.{LARAVEL}")],
            message: format!("{LARAVEL:?} is the name of [upstream]; give this one another"),
        });
    }
    for (name, upstream) in &config.upstreams {
        if upstream.response_timeout >= config.http.stall_timeout {
            broken.push(Broken {
                keys: vec![
                    format!("upstreams.{name}.response_timeout"),
                    "http.stall_timeout".to_owned(),
                ],
                message: format!(
                    "http.stall_timeout must be longer than upstreams.{name}.response_timeout, \
                     or clients are cut off before the app's time is up"
                ),
            });
        }
    }
    broken
}
