"""Images from a Dockerfile: parsed, planned as stages, carried out step by step, each step's layer kept for the next time.

dockerfile (text -> instructions) -> stages (who needs whom) -> builder (one step after the other)
                                                                 ├─ copying  COPY and ADD, in a process of its own
                                                                 ├─ running  RUN, in a container of the node's runtime
                                                                 └─ layers   what a step changed, as a layer of the image
"""
