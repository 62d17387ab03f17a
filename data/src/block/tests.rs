use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, StringArray, StringViewArray, StructArray};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A block of two batches with numbers, texts, nulls and nested columns, the first batch a slice of a longer one.
fn block(rows: usize) -> Block {
    let batch = |from: usize| {
        let texts = || (from..from + rows).map(|n| (n % 3 > 0).then(|| format!("text number {n}")));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter((from..from + rows).map(|n| n as i64)));
        let words = ["a", "b"].map(str::to_owned);
        let keyed = (from..from + rows).map(|n| Some(words[n % 2].as_str()));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("numbers", numbers.clone()),
            ("texts", Arc::new(texts().collect::<StringArray>())),
            ("views", Arc::new(texts().collect::<StringViewArray>())),
            ("keyed", Arc::new(keyed.collect::<DictionaryArray<arrow_array::types::Int32Type>>())),
            ("nested", Arc::new(StructArray::from(vec![(Arc::new(Field::new("n", DataType::Int64, true)), numbers)]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    };
    let first = batch(0);
    Block::new(first.schema(), vec![first.slice(rows / 3, rows - rows / 3), batch(7)]).unwrap()
}

#[test]
fn a_block_survives_the_stream_and_borrows_it() {
    for block in [block(1), block(100), Block::empty(block(3).schema().clone())] {
        let rope = block.to_ipc().unwrap();
        let stream = Bytes::from(rope.0.concat());
        let back = Block::from_ipc(stream.clone()).unwrap();
        assert_eq!(back, block);
        let inside = stream.as_ptr() as usize..stream.as_ptr() as usize + stream.len();
        for batch in back.batches() {
            let numbers = batch.column(0).as_primitive::<Int64Type>().values();
            assert!(inside.contains(&(numbers.as_ptr() as usize)), "the column lies in the stream");
        }
    }
}

#[test]
fn large_columns_are_not_copied_on_the_way_out() {
    let numbers = Int64Array::from_iter_values(0..10_000);
    let at = numbers.values().as_ptr().cast::<u8>();
    let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).unwrap();
    let rope = Block::from(batch).to_ipc().unwrap();
    assert!(rope.0.iter().any(|piece| piece.as_ptr() == at), "the stream has the column itself as a piece");
}

#[cfg(not(madsim))]
#[test]
fn blocks_nest_in_any_value() {
    let value = BTreeMap::from([("a", vec![block(5), block(9)]), ("b", vec![])]);
    let cluster = mobula_runtime::Embedded::start().unwrap();
    let back: BTreeMap<String, Vec<Block>> = cluster.block_on(async {
        let context = cluster.context().unwrap();
        let put = context.put(&value).await.unwrap();
        context.get(&put.cast()).await.unwrap()
    });
    assert_eq!(back["a"], value["a"]);
    assert!(back["b"].is_empty());
}

proptest! {
    #[test]
    fn a_damaged_stream_is_an_error_or_a_block_but_no_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = block(20).to_ipc().unwrap().0.concat();
        for (at, new) in flips {
            let at = at.index(bytes.len());
            bytes[at] = new;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        if let Ok(block) = Block::from_ipc(bytes.into()) {
            // What was accepted can be read.
            let _ = format!("{:?}", block.batches());
        }
    }

    #[test]
    fn noise_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Block::from_ipc(bytes.into()).is_err());
    }
}
