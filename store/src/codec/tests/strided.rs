//! Tensors in any order.

use super::*;

/// 0, 1, 2, ... in this shape.
fn counting(shape: &[usize]) -> Tensor<i32> {
    Tensor::new(shape, (0..shape.iter().product::<usize>() as i32).collect()).unwrap()
}

/// What a series of changes does to a window, done to plain nested indices instead.
#[derive(Clone, Debug)]
enum Change {
    Transpose,
    Slice(prop::sample::Index, prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![Just(Change::Transpose), (index(), index(), index()).prop_map(|(a, b, c)| Change::Slice(a, b, c))]
}

/// All indices of a shape in row-major order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, side| {
        all.iter().flat_map(|index| (0..*side).map(|at| [&index[..], &[at]].concat())).collect()
    })
}

proptest! {
    #[test]
    fn a_window_shows_what_its_indices_say_and_survives_the_journey(
        shape in prop::collection::vec(0_usize..5, 0..4),
        changes in prop::collection::vec(change(), 0..5),
    ) {
        let whole = counting(&shape);
        let mut window = Strided::from(whole.clone());
        // The oracle: the elements by index, kept in a map.
        let mut model: Vec<(Vec<usize>, i32)> = indices(&shape).into_iter().zip(whole.iter().copied()).collect();
        for change in changes {
            match change {
                Change::Slice(axis, from, to) if !window.shape().is_empty() => {
                    let axis = axis.index(window.shape().len());
                    let side = window.shape()[axis] + 1;
                    let (from, to) = (from.index(side), to.index(side));
                    let range = from.min(to)..from.max(to);
                    model.retain(|(index, _)| range.contains(&index[axis]));
                    model.iter_mut().for_each(|(index, _)| index[axis] -= range.start);
                    window = window.sliced(axis, range);
                }
                Change::Slice(..) => {}
                Change::Transpose => {
                    model.iter_mut().for_each(|(index, _)| index.reverse());
                    window = window.transposed();
                }
            }
        }
        model.sort();
        prop_assert_eq!(model.iter().map(|(_, n)| *n).collect::<Vec<_>>(), window.iter().copied().collect::<Vec<_>>());
        prop_assert!(model.iter().all(|(index, n)| window.get(index) == Some(n)));
        let bytes = encode(&window).unwrap().to_bytes();
        prop_assert_eq!(&decode::<Strided<i32>>(&bytes).unwrap(), &window);
        let dense: Tensor<i32> = decode(&bytes).unwrap();
        prop_assert_eq!(&dense, &window.to_tensor());
        prop_assert_eq!(&dense[..], &model.iter().map(|(_, n)| *n).collect::<Vec<_>>()[..]);
        let json = serde_json::to_string(&window).unwrap();
        prop_assert_eq!(serde_json::from_str::<Strided<i32>>(&json).unwrap(), window);
    }

    #[test]
    fn any_strides_are_inside_the_buffer_or_refused(
        axes in prop::collection::vec((0_usize..6, -40_isize..40), 0..4),
        offset in 0_usize..200,
        elements in 0_usize..30,
    ) {
        let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let data = counting(&[elements]);
        let inside = indices(&shape).iter().all(|index| {
            let at = index.iter().zip(&strides).map(|(at, stride)| *at as isize * stride).sum::<isize>() + offset as isize;
            (0..=elements as isize * 4 - 4).contains(&at)
        });
        let Ok(window) = Strided::new(shape.clone(), strides.clone(), offset, &data) else { return Ok(()) };
        prop_assert!(inside);
        prop_assert!(window.len() <= elements);
        prop_assert_eq!(window.iter().count(), window.len());
    }
}

#[test]
fn a_transposed_matrix_is_not_copied_and_a_thin_slice_takes_only_its_bytes() {
    let matrix = Strided::from(counting(&[100, 50]));
    let encoded = encode(&matrix.clone().transposed()).unwrap();
    assert_eq!(encoded.buffers[0].0[0].as_ptr(), matrix.to_tensor().as_slice().as_ptr().cast());
    let back: Strided<i32> = decode(&encoded.to_bytes()).unwrap();
    assert_eq!((back.shape(), back.strides(), back.get(&[3, 2])), (&[50, 100][..], &[4, 200][..], Some(&103)));
    let column = encode(&matrix.clone().sliced(1, 3..4)).unwrap();
    assert_eq!(column.buffers[0].len(), 400, "a column is gathered");
    let rows = encode(&matrix.sliced(0, 10..20)).unwrap();
    assert_eq!(rows.buffers[0].len(), 2000, "rows are a slice");
}

#[test]
fn reversed_axes_have_negative_strides() {
    let data = counting(&[4]);
    let reversed = Strided::new([4], [-4], 12, &data).unwrap();
    assert_eq!(reversed.iter().copied().collect::<Vec<_>>(), [3, 2, 1, 0]);
    let bytes = encode(&reversed).unwrap().to_bytes();
    assert_eq!(decode::<Strided<i32>>(&bytes).unwrap().strides(), [-4]);
}

#[test]
fn windows_that_repeat_overflow_or_split_elements_are_refused() {
    let data = counting(&[8]);
    for (shape, strides, offset) in [
        (vec![9], vec![0], 0),
        (vec![5, 4], vec![4, 4], 0),
        (vec![8], vec![4], 4),
        (vec![2], vec![2], 0),
        (vec![1], vec![4], 2),
        (vec![2], vec![-4], 0),
        (vec![2], vec![4, 4], 0),
        (vec![usize::MAX, 2], vec![4, 4], 0),
        (vec![2], vec![isize::MAX & !3], 0),
        (vec![2], vec![isize::MIN], 0),
        (vec![1], vec![4], usize::MAX - 3),
    ] {
        assert!(Strided::new(shape.clone(), strides.clone(), offset, &data).is_err(), "{shape:?} {strides:?} {offset}");
    }
}
