"""The networks. `specs.ZOO` names them without torch; `zoo.build` makes them."""
