use super::*;

fn shown(text: &str) -> String {
    expression(text).expect(text).to_string()
}

#[test]
fn precedence_is_that_of_sql() {
    for (text, meaning) in [
        ("a or b and not c = 1 + 2 * 3", "a or (b and (not (c = (1 + (2 * 3)))))"),
        ("a - b - c", "(a - b) - c"),
        ("a / b * c", "(a / b) * c"),
        ("arr_delay is not null and dep_time is null", "arr_delay is not null and dep_time is null"),
        ("(a or b) and c", "(a or b) and c"),
        ("-1 + -x", "-1 + (0 - x)"),
        ("a <> 'x' ", "a != \"x\""),
        ("`count` >= 100", "count >= 100"),
        ("x = true or x is null", "(x = true) or x is null"),
        ("1.5 <= y", "1.5 <= y"),
    ] {
        let meaning = meaning.replace("and (not (c = (1 + (2 * 3))))", "and not (c = (1 + (2 * 3)))");
        let printed = shown(text);
        // How expressions print belongs to `data`; what matters here is what they are.
        assert_eq!(expression(&printed).expect(&printed), expression(text).expect(text), "{text} became {printed}");
        assert_eq!(expression(&meaning).expect(&meaning), expression(text).expect(text), "{text} became {printed}");
    }
}

#[test]
fn problems_have_a_place_and_a_reason() {
    for (text, problem) in [
        ("", "column 1: expected an operand, found the end"),
        ("a +", "column 4: expected an operand, found the end"),
        ("a b", "column 3: expected an operator or the end, found `b`"),
        ("(a", "column 3: expected `)`, found the end"),
        ("a is nul", "column 6: expected `null` or `not null`, found `nul`"),
        ("'a", "column 1: the closing ' is missing"),
        ("a ? b", "column 3: `?` has no meaning here"),
        ("12ab", "column 1: `12ab` is no number"),
        ("mean(a) > 1", "column 1: `mean` is no function here; aggregates belong into `agg`"),
        ("and", "column 1: expected an operand, found `and`"),
    ] {
        let found = expression(text).expect_err(text).to_string();
        assert_eq!(found, format!("in the expression `{text}`, {problem}"));
    }
    let deep = "(".repeat(10_000);
    assert!(expression(&deep).expect_err("too deep").to_string().ends_with("it is nested too deeply"));
}

#[test]
fn aggregates_take_one_expression() {
    assert_eq!(aggregate("count()"), Ok(AggText { function: AggFunction::Count, argument: None }));
    assert_eq!(aggregate("count(x)"), Ok(AggText { function: AggFunction::CountOf, argument: Some(col("x")) }));
    let cancelled = AggText { function: AggFunction::CountIf, argument: Some(col("x").is_null()) };
    assert_eq!(aggregate("count_if(x is null)"), Ok(cancelled));
    let unknown = aggregate("meen(x)").expect_err("no such aggregate").to_string();
    assert_eq!(unknown, "in the expression `meen(x)`, column 1: unknown aggregate `meen`; did you mean `mean`?");
    assert!(aggregate("sum()").is_err());
}
