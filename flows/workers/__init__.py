"""What works side by side on this machine: threads in a row, and processes for what may crash. Knows nothing of stages.

In: functions, and plain values for them. Out: what they give. `lanes` passes items through threads in order,
`processes` calls functions in other processes, which may die, `worker` is such a process, `decoding` has it decode.
"""
