"""What lies in the directory of a training."""

from __future__ import annotations

RECORD_FILE = "training.json"
RECIPE_FILE = "recipe.yaml"
PICTURE_FILE = "curves.png"

# in the folder of each seed
CONFIG_FILE = "config.yaml"
LAST_FILE = "last.ckpt"
BEST_FILE = "best.ckpt"
MODEL_FILE = "model.nequip.zip"
COMPILED_FILE = "model.nequip.pt2"
LOG_FILE = "train.log"
EVALUATION_FOLDER = "evaluation"
