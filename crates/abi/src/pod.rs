//! Plain old data: [`Pod`], the types that cross the border between user memory and Rust.
//!
//! This is the only module of the crate with `unsafe` code. All structs of the crate are made by
//! the macro `pod!`, which has the compiler check what the trait asks for.

use core::mem::{size_of, size_of_val, zeroed};
use core::slice;

/// A type whose values are exactly their bytes.
///
/// # Safety
///
/// Every pattern of bytes is a valid value, and the type has no padding: all bytes of a value are
/// initialised. The type has no interior mutability and holds no pointers or references.
pub unsafe trait Pod: Copy + 'static {
    /// The value with all bytes zero.
    #[must_use]
    fn zeroed() -> Self {
        // SAFETY: every pattern of bytes is a valid value of a `Pod`, so this one is.
        unsafe { zeroed() }
    }

    /// The bytes of the value, as they lie in memory.
    #[must_use]
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the bytes belong to `self`, and a `Pod` has no bytes without a value.
        unsafe { slice::from_raw_parts((&raw const *self).cast::<u8>(), size_of::<Self>()) }
    }

    /// The bytes of the value, to be written.
    #[must_use]
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_bytes`, the borrow is exclusive, and whatever is written is a value.
        unsafe { slice::from_raw_parts_mut((&raw mut *self).cast::<u8>(), size_of::<Self>()) }
    }

    /// The value that the first bytes of `bytes` make, or `None` if there are too few.
    #[must_use]
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let source = bytes.get(..size_of::<Self>())?;
        let mut value = Self::zeroed();
        value.as_bytes_mut().copy_from_slice(source);
        Some(value)
    }
}

/// The bytes of a slice of values.
#[must_use]
pub fn slice_as_bytes<T: Pod>(values: &[T]) -> &[u8] {
    // SAFETY: the bytes belong to `values`; a `Pod` has no bytes without a value, and an array
    // has no padding between its elements.
    unsafe { slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// The bytes of a slice of values, to be written.
#[must_use]
pub fn slice_as_bytes_mut<T: Pod>(values: &mut [T]) -> &mut [u8] {
    let len = size_of_val(values);
    // SAFETY: as for `slice_as_bytes`, the borrow is exclusive, and whatever is written is a value.
    unsafe { slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), len) }
}

macro_rules! integers {
    ($($type:ty)*) => {
        // SAFETY: integers have no padding and no invalid values.
        $(unsafe impl Pod for $type {})*
    };
}

integers! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize }

// SAFETY: an array is its elements, one after the other.
unsafe impl<T: Pod, const N: usize> Pod for [T; N] {}

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
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        const _: () = {
            const fn is_pod<T: $crate::pod::Pod>() {}
            $(is_pod::<$type>();)*
            let fields = 0 $(+ core::mem::size_of::<$type>())*;
            assert!(core::mem::size_of::<$name>() == fields, "padding must be a field");
        };

        // SAFETY: checked above: all fields are `Pod`, and they fill the struct.
        #[allow(unsafe_code, reason = "the checks above are what the trait asks for")]
        unsafe impl $crate::pod::Pod for $name {}

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
