// SPDX-License-Identifier: MPL-2.0
//! Runs a pipeline and serves its counters to Prometheus, from what the elements post on the bus.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use gst::{glib, prelude::*};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

/// Run a pipeline with qwenasr or qwenasrsink in it, and serve its counters to Prometheus.
#[derive(Parser)]
struct Arguments {
    /// Address to serve them at
    #[arg(long, default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// How often the elements say how they are, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    interval: u32,
    /// Elements, as for gst-launch-1.0
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pipeline: Vec<String>,
}

const INSPECT: &str = "'gst-inspect-1.0 ELEMENT' says what is allowed";

/// What an element posted most recently.
#[derive(Debug, Default)]
struct Element {
    /// The service's name of the connection, while there is one: that for what is said, whose key is
    /// empty, and those for translations, by language.
    connections: BTreeMap<String, Option<String>>,
    stats: Option<gst::Structure>,
}

impl Element {
    fn connection(&mut self, message: &gst::StructureRef) {
        let text = |field| message.get::<String>(field).unwrap_or_default();
        let session_id = text("session-id");
        let current = self.connections.entry(text("translation")).or_default();
        if text("state") == "connected" {
            *current = Some(session_id);
        } else if session_id.is_empty() || current.as_ref() == Some(&session_id) {
            *current = None;
        }
        // All else is of a session that finishes while the next one has begun.
    }
}

/// What each element posted, by its name.
#[derive(Debug, Default)]
struct Latest(Mutex<BTreeMap<String, Element>>);

impl Latest {
    fn handle(&self, message: &gst::Message) {
        let (Some(source), Some(structure)) = (message.src(), message.structure()) else {
            return;
        };
        let mut elements = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let element = elements.entry(source.name().into());
        match structure.name().as_str() {
            "qwenasr/stats" => {
                let element = element.or_default();
                element.stats = Some(structure.to_owned());
                // Before there is any audio, there is no connection, which is to be seen as well.
                element.connections.entry(String::new()).or_default();
            }
            "qwenasr/connection" => element.or_default().connection(structure),
            _ => {}
        }
    }

    /// Whether there is a connection, for each element and what is said or a translation.
    fn connections(&self) -> Vec<([(&'static str, String); 2], bool)> {
        let elements = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connections = Vec::new();
        for (name, element) in &*elements {
            for (translation, connection) in &element.connections {
                let labels = [("element", name), ("translation", translation)];
                let labels = labels.map(|(label, value)| (label, value.clone()));
                connections.push((labels, connection.is_some()));
            }
        }
        connections
    }

    /// What each element's counters give.
    fn counters<T>(
        &self,
        get: impl Fn(&gst::StructureRef) -> Option<T>,
    ) -> Vec<([(&'static str, String); 1], T)> {
        let elements = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = elements.iter().filter_map(|(name, element)| {
            let value = get(element.stats.as_ref()?)?;
            Some(([("element", name.clone())], value))
        });
        values.collect()
    }
}

/// The fields of `qwenasr/stats` that are not simply counters.
const NANOSECONDS: [&str; 2] = ["audio-lost", "queue-level"];
const GAUGE: &str = "queue-level";

impl Collector for Latest {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help =
            "Whether there is a connection to the service, for what is said or a translation";
        let metric = encoder.encode_descriptor("connected", help, None, MetricType::Gauge)?;
        each(metric, self.connections(), |mut metric, connected| {
            metric.encode_gauge(&i64::from(connected))
        })?;
        let stats = self.counters(|stats| Some(stats.to_owned()));
        let Some((_, structure)) = stats.first() else {
            return Ok(());
        };
        for field in structure.fields() {
            let (name, help) = (
                field.replace('-', "_"),
                format!("{field} of qwenasr's stats"),
            );
            let unit = NANOSECONDS
                .contains(&field.as_str())
                .then_some(&Unit::Seconds);
            let kind = match field.as_str() {
                GAUGE => MetricType::Gauge,
                _ => MetricType::Counter,
            };
            let metric = encoder.encode_descriptor(&name, &help, unit, kind)?;
            let values = self.counters(|stats| number(stats, field));
            each(metric, values, |mut metric, value| match kind {
                MetricType::Gauge => metric.encode_gauge(&value),
                _ => metric.encode_counter::<NoLabelSet, _, f64>(&value, None),
            })?;
        }
        Ok(())
    }
}

/// Encodes each of the values with its labels.
fn each<T, const LABELS: usize>(
    mut metric: MetricEncoder,
    values: Vec<([(&'static str, String); LABELS], T)>,
    encode: impl Fn(MetricEncoder, T) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in values {
        encode(metric.encode_family(&labels)?, value)?;
    }
    Ok(())
}

fn number(stats: &gst::StructureRef, field: &str) -> Option<f64> {
    let value = stats.get::<f64>(field);
    let value = value.or_else(|_| stats.get::<u64>(field).map(|value| value as f64));
    let unit = if NANOSECONDS.contains(&field) {
        1e-9
    } else {
        1.0
    };
    Some(value.ok()? * unit)
}

/// Answers every request with the metrics, one after the other: there is one Prometheus.
fn serve(listener: &TcpListener, registry: &Registry) {
    for client in listener.incoming().flatten() {
        if let Err(error) = answer(client, registry) {
            eprintln!("metrics: {error}");
        }
    }
}

fn answer(mut client: TcpStream, registry: &Registry) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    client.set_write_timeout(Some(Duration::from_secs(1)))?;
    // Whatever is asked for; a request of Prometheus fits.
    let mut request = [0; 8192];
    let mut length = 0;
    while !request[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut request[length..])? {
            0 => return Ok(()),
            read => length += read,
        }
    }
    let mut body = String::new();
    prometheus_client::encoding::text::encode(&mut body, registry)
        .map_err(std::io::Error::other)?;
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; \
         charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Makes a pipeline as gst-launch-1.0 does, but refuses what that only warns of: values that are out of
/// range.
fn pipeline_of(words: &[String]) -> Result<gst::Pipeline, Box<dyn std::error::Error>> {
    const DOMAIN: Option<&str> = Some("GLib-GObject");
    let levels = glib::LogLevels::LEVEL_WARNING | glib::LogLevels::LEVEL_CRITICAL;
    let (sender, warnings) = std::sync::mpsc::channel();
    let handler = glib::log_set_handler(DOMAIN, levels, false, false, move |_, _, warning| {
        // Received below.
        let _ = sender.send(warning.to_owned());
    });
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let pipeline = gst::parse::launchv(&words);
    glib::log_remove_handler(DOMAIN, handler);
    let pipeline = pipeline.map_err(|error| match error.kind() {
        Some(gst::ParseError::NoSuchProperty | gst::ParseError::CouldNotSetProperty) => {
            format!("{error}; {INSPECT}")
        }
        _ => error.to_string(),
    })?;
    for warning in warnings.try_iter() {
        if warning.contains("out of range") {
            return Err(format!("{warning}; {INSPECT}").into());
        }
        eprintln!("{warning}");
    }
    let pipeline = pipeline.downcast::<gst::Pipeline>();
    Ok(pipeline.map_err(|_| "this is a single element, and no pipeline")?)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    gstqwenasr::plugin_register_static()?;
    let pipeline = pipeline_of(&arguments.pipeline)?;
    for element in pipeline.iterate_recurse().into_iter().flatten() {
        if element.find_property("stats-interval").is_some() {
            element.set_property("stats-interval", arguments.interval);
        }
    }
    let latest = Arc::new(Latest::default());
    let mut registry = Registry::with_prefix("qwenasr");
    registry.register_collector(Box::new(latest.clone()));
    let listener = TcpListener::bind(arguments.listen)?;
    println!("Metrics at http://{}/metrics", listener.local_addr()?);
    std::thread::spawn(move || serve(&listener, &registry));

    let bus = pipeline.bus().ok_or("there is no bus")?;
    // Why it does not start is on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    let mut result = Ok(());
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Element(_) => latest.handle(&message),
            gst::MessageView::Warning(warning) => eprintln!("warning: {}", warning.error()),
            gst::MessageView::Latency(_) => pipeline.recalculate_latency()?,
            gst::MessageView::Error(error) => {
                let debug = error.debug().filter(|_| error.details().is_none());
                // Only there do other elements name a file.
                let debug = debug.map(|debug| format!("\n{debug}"));
                let text = format!("{}{}", error.error(), debug.unwrap_or_default());
                result = Err(text.into());
                break;
            }
            gst::MessageView::Eos(_) => break,
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null)?;
    result
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metrics: {error}");
            ExitCode::FAILURE
        }
    }
}
