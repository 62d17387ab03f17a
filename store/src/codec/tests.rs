use super::hash::BLOCK;
use super::*;
use mobula_protocol::{Incarnation, TaskId};
use proptest::prelude::*;
use serde::{Deserialize, Serializer};

mod hostile;
mod strided;

fn object(seq: u64) -> ObjectId {
    TaskId { owner: Incarnation::new(7, 3), seq }.result(seq as u32 % 5)
}

/// A value with everything in it, nested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Value {
    Nothing,
    Number(i64),
    Real(f64),
    Text(String),
    Inline(Vec<u8>),
    Blob(Blob),
    Matrix(Tensor<f64>),
    Bytes(Tensor<u8>),
    Ref(Reference),
    Pair { left: Box<Value>, right: Option<Box<Value>> },
    List(Vec<Value>),
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let leaf = prop_oneof![
        Just(Value::Nothing),
        any::<i64>().prop_map(Value::Number),
        (-1e300..1e300).prop_map(Value::Real),
        ".{0,20}".prop_map(Value::Text),
        bytes().prop_map(Value::Inline),
        bytes().prop_map(|b| Value::Blob(b.into())),
        bytes().prop_map(|b| Value::Bytes(b.into())),
        (0_usize..5, 0_usize..5).prop_map(|(rows, columns)| {
            let elements = (0..rows * columns).map(|n| n as f64 / 3.0).collect();
            Value::Matrix(Tensor::new([rows, columns], elements).unwrap())
        }),
        (0_u64..6).prop_map(|n| Value::Ref(Reference(object(n)))),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            (inner.clone(), prop::option::of(inner))
                .prop_map(|(left, right)| Value::Pair { left: left.into(), right: right.map(Box::new) }),
        ]
    })
}

/// The references of a value in the order serde meets them, each once.
fn references(value: &Value, found: &mut Vec<ObjectId>) {
    match value {
        Value::Ref(Reference(id)) if !found.contains(id) => found.push(*id),
        Value::List(list) => list.iter().for_each(|v| references(v, found)),
        Value::Pair { left, right } => {
            [Some(left), right.as_ref()].into_iter().flatten().for_each(|v| references(v, found))
        }
        _ => {}
    }
}

fn parts(bytes: &Bytes) -> (usize, Layout) {
    let layout = Layout::read(bytes).unwrap();
    (layout.structure.end, layout)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(value in value()) {
        let encoded = encode(&value).unwrap();
        let bytes = encoded.to_bytes();
        prop_assert_eq!(bytes.len(), encoded.len());
        let mut expected = Vec::new();
        references(&value, &mut expected);
        prop_assert_eq!(encoded.refs(), &expected[..]);
        prop_assert_eq!(&refs(&bytes).unwrap(), &expected);
        verify(&bytes).unwrap();
        let mut met = Vec::new();
        let back: Value = decode_with(&bytes, &mut |id| met.push(id)).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(met, expected);
        // The same value always becomes the same bytes, from wherever its buffers come.
        prop_assert_eq!(encode(&back).unwrap().to_bytes(), bytes.clone());
        let again = super::parts(&bytes).unwrap();
        prop_assert_eq!((again.refs(), again.len()), (encoded.refs(), encoded.len()));
        prop_assert_eq!(again.to_bytes(), bytes);
    }

    #[test]
    fn any_alignment_of_the_input_reads_the_same(value in value(), shift in 0_usize..64) {
        let bytes = encode(&value).unwrap().to_bytes();
        let mut message = vec![0; shift];
        message.extend_from_slice(&bytes);
        prop_assert_eq!(decode::<Value>(&Bytes::from(message).slice(shift..)).unwrap(), value);
    }

    #[test]
    fn a_buffer_in_pieces_is_the_same_buffer(
        len in prop_oneof![0_usize..300, BLOCK - 2..BLOCK + 3, 3 * BLOCK - 1..3 * BLOCK + 2],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let whole = Bytes::from((0..len).map(|n| (n * n / 7) as u8).collect::<Vec<u8>>());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(len + 1)).chain([0, len]).collect();
        cuts.sort_unstable();
        let pieces: Vec<Bytes> = cuts.windows(2).map(|cut| whole.slice(cut[0]..cut[1])).collect();
        for store in [Store::Cached, Store::Streaming] {
            let mut to = vec![0; len];
            prop_assert_eq!(hash::copy_and_hash(&pieces, store, &mut to), hash::of_buffer(&whole));
            prop_assert_eq!(&to, &whole);
        }
        let bytes = encode(&Rope(pieces)).unwrap().to_bytes();
        prop_assert_eq!(&bytes, &encode(&Blob(whole.clone())).unwrap().to_bytes());
        prop_assert_eq!(decode::<Rope>(&bytes).unwrap(), Rope::from(whole));
    }
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let tensor = Tensor::from(vec![1.5_f32, -2.0]);
    let bytes = encode(&(Reference(object(9)), tensor)).unwrap().to_bytes();
    // [ext(2, 0), {"dtype": "<f4", "shape": [2], "data": ext(1, 0)}]
    let structure = b"\x92\xd6\x02\0\0\0\0\x83\xa5dtype\xa3<f4\xa5shape\x91\x02\xa4data\xd6\x01\0\0\0\0";
    let head = 32 + 24 + 24 + structure.len();
    assert_eq!(
        &bytes[..24],
        [&b"MOB1\x01\0\0\0"[..], &[structure.len() as u8, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0], &[1, 0, 0, 0]].concat()
    );
    assert_eq!(bytes[32..48], [[128, 0, 0, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0, 0]].concat());
    assert_eq!(bytes[56..80], [7, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&bytes[80..head], structure);
    assert!(bytes[head..128].iter().all(|b| *b == 0));
    assert_eq!(bytes[128..], [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
}

#[test]
fn buffers_are_not_copied_on_either_side() {
    let blob = Blob::from(vec![7; 1000]);
    let encoded = encode(&blob).unwrap();
    assert_eq!(encoded.buffers[0].0[0].as_ptr(), blob.as_ptr());
    let arena = crate::Arena::heap(mobula_protocol::ByteSize(10_000)).unwrap();
    let mut region = arena.allocate(mobula_protocol::ByteSize(encoded.len() as u64)).unwrap();
    encoded.write_into(region.as_mut_slice()).unwrap();
    let view = region.seal();
    let back: Blob = decode(&view.bytes()).unwrap();
    let at = parts(&view.bytes()).1.slots[0].range.start;
    assert_eq!((back.as_ptr(), at % 64), (view[at..].as_ptr(), 0));
    let used = arena.used();
    drop(view);
    assert_eq!(arena.used(), used, "the blob keeps the range");
    drop(back);
    assert_eq!(arena.used().0, 0);
}

#[test]
fn only_a_misaligned_tensor_is_copied() {
    let bytes = encode(&Tensor::from(vec![1_u64; 100])).unwrap().to_bytes();
    for (shift, copied) in [(0, false), (8, false), (1, true), (4, true)] {
        let mut message = vec![0; shift];
        message.extend_from_slice(&bytes);
        let message = Bytes::from(message);
        let base = message.as_ptr() as usize;
        assert_eq!(base % 8, 0, "the system's allocator aligns to 8");
        let back: Tensor<u64> = decode(&message.slice(shift..)).unwrap();
        let inside = (base..base + message.len()).contains(&(back.as_ptr() as usize));
        assert_eq!((inside, back.iter().sum::<u64>()), (!copied, 100), "shift {shift}");
    }
}

#[test]
fn an_inner_encoding_leaves_the_outer_intact() {
    struct Outer;
    impl Serialize for Outer {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let first = Blob::from(vec![1; 10]);
            let inner = encode(&(Blob::from(vec![2; 20]), Reference(object(1)))).map_err(serde::ser::Error::custom)?;
            assert_eq!((inner.buffers.len(), inner.refs()), (1, &[object(1)][..]));
            (first, Blob::from(inner.to_bytes()), Reference(object(2))).serialize(to)
        }
    }
    let bytes = encode(&Outer).unwrap().to_bytes();
    assert_eq!(refs(&bytes).unwrap(), [object(2)]);
    let (first, inner, Reference(id)): (Blob, Blob, Reference) = decode(&bytes).unwrap();
    assert_eq!((&first[..], id), (&[1; 10][..], object(2)));
    let (second, Reference(id)): (Blob, Reference) = decode(&inner.0).unwrap();
    assert_eq!((&second[..], id), (&[2; 20][..], object(1)));
}

#[test]
fn a_failed_or_panicking_encoding_leaves_nothing_behind() {
    struct Fails(bool);
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            assert!(self.0, "on purpose");
            Err(serde::ser::Error::custom("no"))
        }
    }
    let error = encode(&(Blob::default(), Fails(true))).unwrap_err();
    assert_eq!(error, CodecError::Serialize { reason: "no".into() });
    assert!(std::panic::catch_unwind(|| encode(&(Blob::default(), Fails(false)))).is_err());
    assert_eq!(serde_json::to_string(&Blob::from(vec![1, 2])).unwrap(), "[1,2]", "no encoding is running");
}

#[test]
fn in_other_formats_buffers_are_inline_and_references_refused() {
    let tensor = Tensor::new([2, 1], vec![1.5, 2.5]).unwrap();
    let json = serde_json::to_string(&(&tensor, Blob::from(vec![9]))).unwrap();
    assert_eq!(json, r#"[{"dtype":"<f8","shape":[2,1],"data":[1.5,2.5]},[9]]"#);
    assert_eq!(serde_json::from_str::<(Tensor<f64>, Blob)>(&json).unwrap(), (tensor, Blob::from(vec![9])));
    let refused = serde_json::to_string(&Reference(object(1))).unwrap_err();
    assert_eq!(refused.to_string(), OutOfBand.to_string());
    assert!(serde_json::from_str::<Reference>("[2,[0,0,0,0]]").unwrap_err().to_string().contains("only travel inside"));
}

#[test]
fn another_format_inside_a_value_still_points_out_of_it() {
    mod as_json {
        use serde::de::{DeserializeOwned, Deserializer, Error as _};
        use serde::ser::{Error as _, Serialize, Serializer};
        pub fn serialize<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(&serde_json::to_string(value).map_err(S::Error::custom)?)
        }
        pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
            let text: String = serde::Deserialize::deserialize(from)?;
            serde_json::from_str(&text).map_err(D::Error::custom)
        }
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Letter {
        #[serde(with = "as_json")]
        inside: (Blob, Reference, Tensor<i32>),
    }
    let letter = Letter { inside: (Blob::from(vec![5; 9]), Reference(object(4)), vec![1, 2].into()) };
    let encoded = encode(&letter).unwrap();
    assert_eq!((encoded.buffers.len(), encoded.refs()), (2, &[object(4)][..]));
    assert_eq!(decode::<Letter>(&encoded.to_bytes()).unwrap(), letter);
}

#[test]
fn serde_attributes_that_buffer_content_work() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i32),
        Data { data: Blob, of: Reference },
        Matrix(Tensor<i16>),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        rest: Either,
    }
    let flat = Flat { id: 1, rest: Either::Data { data: Blob::from(vec![1; 70]), of: Reference(object(3)) } };
    assert_eq!(decode::<Flat>(&encode(&flat).unwrap().to_bytes()).unwrap(), flat);
    let matrix = vec![Either::Number(4), Either::Matrix(vec![1, 2, 3].into())];
    assert_eq!(decode::<Vec<Either>>(&encode(&matrix).unwrap().to_bytes()).unwrap(), matrix);
}

#[test]
fn a_reader_finds_fields_by_name() {
    #[derive(Serialize)]
    struct Old {
        b: Blob,
        gone: Reference,
        a: u8,
    }
    #[derive(Deserialize)]
    struct New {
        a: u8,
        b: Blob,
        #[serde(default)]
        added: Option<u8>,
    }
    let old = Old { b: Blob::from(vec![3; 3]), gone: Reference(object(1)), a: 2 };
    let bytes = encode(&old).unwrap().to_bytes();
    let mut met = Vec::new();
    let new: New = decode_with(&bytes, &mut |id| met.push(id)).unwrap();
    assert_eq!((new.a, &new.b[..], new.added), (2, &[3; 3][..], None));
    assert_eq!((refs(&bytes).unwrap(), met), (vec![object(1)], vec![]), "listed, but not met by this reader");
}

#[test]
fn a_shape_must_fit_its_elements() {
    assert_eq!(Tensor::<i32>::new([0, 5], vec![]).unwrap().shape(), [0, 5]);
    let error = Tensor::new([2, 2], vec![1_i32; 3]).unwrap_err();
    assert_eq!(error, ShapeError { shape: vec![2, 2], found: 12, element: 4 });
    assert!(Tensor::<u8>::new([usize::MAX, usize::MAX], vec![]).is_err(), "the product overflows");
}

#[test]
fn the_wrong_type_is_an_error_that_says_so() {
    let bytes = encode(&Tensor::from(vec![1_i32])).unwrap().to_bytes();
    let error = decode::<Tensor<f32>>(&bytes).unwrap_err().to_string();
    assert!(error.contains("a tensor of `<i4`, where one of `<f4` was wanted"), "{error}");
    let error = decode::<String>(&bytes).unwrap_err().to_string();
    assert!(error.starts_with("the value is not a alloc::string::String"), "{error}");
}
