//! A plugin that is called with each delivery, on the contract's bindings alone: what the SDK for another language would make.

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod exports {
    use std::sync::OnceLock;

    use tidegate_guests::bindings::consumer::{
        self,
        exports::tidegate::plugin::{
            handler::{self, Delivery, Failure},
            plugin::{self, Description},
        },
        tidegate::plugin::{
            config, publisher,
            publisher::Outgoing,
            types::{Event, Reason},
        },
    };
    use tidegate_plugin::serde_json::{self, Value};

    struct Typed;

    impl plugin::Guest for Typed {
        fn describe() -> Description {
            Description {
                name: "typed".to_owned(),
                version: "0.1.0".to_owned(),
                publishes: Vec::new(),
                uses_state: false,
                state_version: 1,
            }
        }
    }

    impl handler::Guest for Typed {
        fn handle(delivery: Delivery) -> Result<(), Failure> {
            let event = delivery.event;
            if event.type_ == "Fail.v1" {
                return Err(Failure::Transient(reason("told-to", "it is told to", Some(1))));
            }
            match topic() {
                Some(topic) => publisher::publish(topic, &outgoing(event))
                    .map_err(|error| Failure::Permanent(reason("refused", &error.to_string(), None))),
                None => Ok(()),
            }
        }
    }

    /// The topic of the settings.
    fn topic() -> Option<&'static str> {
        static TOPIC: OnceLock<Option<String>> = OnceLock::new();
        let read = || {
            let settings: Value = serde_json::from_str(&config::settings()).ok()?;
            Some(settings.get("topic")?.as_str()?.to_owned())
        };
        TOPIC.get_or_init(read).as_deref()
    }

    fn outgoing(event: Event) -> Outgoing {
        Outgoing {
            id: None,
            source: None,
            type_: event.type_,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions,
            data: event.data,
        }
    }

    fn reason(code: &str, message: &str, retry_after_ms: Option<u64>) -> Reason {
        Reason { code: code.to_owned(), message: message.to_owned(), retry_after_ms }
    }

    consumer::export_consumer!(Typed with_types_in consumer);
}
