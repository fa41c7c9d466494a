//! Plain old data: [`Pod`], the types that cross the border between user memory and Rust.
//!
//! All structs of the crate are made by the macro `pod!`. That each of their values is its
//! bytes, and all bytes a value, `bytemuck` has the compiler check.

use core::mem::size_of;

/// A type whose values are exactly their bytes: every pattern of bytes is a value, and there is
/// no padding, pointer or reference in it.
pub trait Pod: Copy + 'static {
    /// The value with all bytes zero.
    #[must_use]
    fn zeroed() -> Self;

    /// The bytes of the value, as they lie in memory.
    #[must_use]
    fn as_bytes(&self) -> &[u8];

    /// The bytes of the value, to be written.
    #[must_use]
    fn as_bytes_mut(&mut self) -> &mut [u8];

    /// The value that the first bytes of `bytes` make, or `None` if there are too few.
    #[must_use]
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl<T: bytemuck::Pod> Pod for T {
    fn zeroed() -> Self {
        bytemuck::Zeroable::zeroed()
    }

    fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::bytes_of_mut(self)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.get(..size_of::<Self>()).map(bytemuck::pod_read_unaligned)
    }
}

/// The bytes of a slice of values.
#[must_use]
pub fn slice_as_bytes<T: bytemuck::Pod>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}

/// The bytes of a slice of values, to be written.
#[must_use]
pub fn slice_as_bytes_mut<T: bytemuck::Pod>(values: &mut [T]) -> &mut [u8] {
    bytemuck::cast_slice_mut(values)
}

/// Defines structs with the layout of C that are [`Pod`]: all fields must be `Pod` and padding
/// must be spelt out as fields, or the definition does not compile. `Default` is all zeroes.
/// A struct that is marked `packed` has its fields without gaps.
macro_rules! pod {
    () => {};
    (
        $(#[doc = $doc:literal])*
        packed struct $name:ident { $($fields:tt)* }
        $($rest:tt)*
    ) => {
        $crate::pod::pod! { @one [C, packed] [$(#[doc = $doc])*] $name { $($fields)* } }
        $crate::pod::pod! { $($rest)* }
    };
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident { $($fields:tt)* }
        $($rest:tt)*
    ) => {
        $crate::pod::pod! { @one [C] [$(#[doc = $doc])*] $name { $($fields)* } }
        $crate::pod::pod! { $($rest)* }
    };
    (@one [$($repr:tt)*] [$($meta:tt)*] $name:ident {
        $($(#[doc = $doc:literal])* pub $field:ident: $type:ty,)*
    }) => {
        $($meta)*
        #[repr($($repr)*)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Zeroable, bytemuck::Pod)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $crate::pod::Pod::zeroed()
            }
        }
    };
}
pub(crate) use pod;

#[cfg(test)]
mod tests {
    use super::{Pod, slice_as_bytes, slice_as_bytes_mut};

    pod! {
        /// For the tests.
        pub struct Pair {
            pub small: u16,
            pub pad: u16,
            pub large: u32,
        }

        packed struct Packed {
            pub small: u8,
            pub large: u32,
        }
    }

    #[test]
    fn bytes_and_values_convert_into_each_other() {
        let pair = Pair { small: 0x0201, pad: 0, large: 0x0605_0403 };
        assert_eq!(pair.as_bytes(), [1, 2, 0, 0, 3, 4, 5, 6]);
        assert_eq!(Pair::from_bytes(&[1, 2, 0, 0, 3, 4, 5, 6, 7]), Some(pair));
        assert_eq!(Pair::from_bytes(&[1, 2, 0, 0, 3, 4, 5]), None);
        assert_eq!(Packed::from_bytes(&[1, 2, 0, 0, 0]), Some(Packed { small: 1, large: 2 }));
        assert_eq!(Pair::default().as_bytes(), [0; 8]);
        let mut words = [0u16; 2];
        slice_as_bytes_mut(&mut words).copy_from_slice(&[1, 0, 0, 1]);
        assert_eq!(words, [1, 256]);
        assert_eq!(slice_as_bytes(&words), [1, 0, 0, 1]);
    }
}
