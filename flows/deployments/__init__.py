"""What a team starts from Prefect's page: the recipes with parameters that a person can fill in.

In: a run's parameters, each with a title and a description. Out: a version, and artifacts on the run's page.
`recipes` has the flows, `parameters` what they take, `turns` lets runs in one dataset wait for each other, `run_page`
shows a build on its run's page. What a flow does is a recipe's, as `flows.build_dataset`; nothing here rejects.
"""
