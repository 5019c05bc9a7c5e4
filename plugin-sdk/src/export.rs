/// Makes a [`Consumer`](crate::Consumer) the plugin that this crate builds. Once in a crate of type `cdylib`; does
/// nothing in a native build, so that the consumer's tests run natively.
///
/// The plugin's version is that of the crate, unless another is given: `export!(Alerts, version = "0.2.0")`.
#[macro_export]
macro_rules! export {
    ($consumer:ty) => {
        $crate::export!($consumer, version = env!("CARGO_PKG_VERSION"));
    };
    ($consumer:ty, version = $version:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            struct Plugin;

            impl $crate::wasm::DescribeGuest for Plugin {
                fn describe() -> $crate::wasm::Description {
                    $crate::wasm::describe::<$consumer>($version)
                }
            }

            impl $crate::wasm::WorkerGuest for Plugin {
                fn run() {
                    $crate::wasm::run::<$consumer>()
                }
            }

    $crate::bindings::export_consumer_pull!(Plugin with_types_in $crate::bindings);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> (&'static str, &'static str) = || ($version, <$consumer as $crate::Consumer>::NAME);
    };
}
