//! What a configuration file says of an upcaster.

use std::path::Path;

use super::super::UpcasterConfig;
use super::ConfigFileError;
use super::model::set;
use super::program::{read_limits, resolve};
use super::table::Entry;

pub(super) fn read_upcaster(entry: Entry<'_>, folder: &Path) -> Result<UpcasterConfig, ConfigFileError> {
    let table = entry.table(&["plugin", "limits", "log", "settings"])?;
    let component = table.require("plugin", "the path of a WebAssembly component, relative to this file")?;
    let mut upcaster = UpcasterConfig::new(resolve(folder, component.string()?));
    if let Some(entry) = table.get("limits") {
        upcaster.limits = read_limits(entry)?;
    }
    set(&mut upcaster.log, table.get("log"), Entry::boolean)?;
    if let Some(settings) = table.get("settings") {
        upcaster.settings = settings.json_object()?.to_string();
    }
    Ok(upcaster)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;

    fn refusal(text: &str) -> String {
        Config::from_toml(text, Path::new("/srv/tidegate.toml")).unwrap_err().to_string()
    }

    #[test]
    fn an_upcaster_is_read_with_its_settings() {
        let text = "
            [upcasters.orders]
            plugin = 'plugins/orders.wasm'
            limits = { deadline = '100ms' }
            log = true
            settings = { currency = 'EUR' }
        ";
        let config = Config::from_toml(text, Path::new("/srv/tidegate.toml")).unwrap();
        let orders = &config.upcasters["orders"];
        assert_eq!(orders.component, Path::new("/srv/plugins/orders.wasm"));
        assert_eq!((orders.limits.deadline.as_millis(), orders.log), (100, true));
        assert_eq!(orders.settings, r#"{"currency":"EUR"}"#);
    }

    #[test]
    fn what_an_upcaster_may_not_have_is_refused_with_its_line() {
        let grants = refusal("[upcasters.orders]\nplugin = 'a.wasm'\ngrants = { state = true }\n");
        assert!(grants.contains(":3: ") && grants.contains("upcasters.orders.grants"), "{grants}");
        let deadline = refusal("[upcasters.orders]\nplugin = 'a.wasm'\nlimits = { deadline = '1h' }\n");
        assert!(deadline.contains("upcasters.orders.limits.deadline"), "{deadline}");
        assert!(refusal("[upcasters.orders]\n").contains("upcasters.orders.plugin"));
    }
}
