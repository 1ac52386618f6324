"""A label selector as Go prints it, since upstream's messages show it so:

&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}
"""

from kybern.api.meta_v1 import LabelSelector, LabelSelectorRequirement


def selector_text(selector: LabelSelector | None) -> str:
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.match_labels or {}).items()))
    expressions = "".join(f"{_requirement(one)}," for one in selector.match_expressions or ())
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def _requirement(one: LabelSelectorRequirement) -> str:
    values = " ".join(one.values or ())
    return f"LabelSelectorRequirement{{Key:{one.key},Operator:{one.operator},Values:[{values}],}}"
