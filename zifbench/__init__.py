"""zifbench: can a machine-learned potential be trusted with a metal-organic framework glass?

Reference frames in, a potential in, a scorecard with error bars out. Importing this package does
nothing; `zifbench.frames` holds the one core type, the rooms beside it follow the data.
"""

__version__ = "0.1.0"
