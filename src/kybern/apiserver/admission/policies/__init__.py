"""Admission policies: rules as expressions in the cluster's own objects, decided here, without a call to anybody.

`source` keeps policies and their bindings compiled, `params` finds what a binding parametrises a policy with, `evaluation`
gives expressions their values; `judging` refuses, warns and annotates, `changing` changes. The plugins in front of them,
`validating` and `mutating`, import all that only where a policy is bound.
"""
