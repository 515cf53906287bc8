"""The page: four tabs over a Workbench. Nothing here imports torch, transformers or peft."""
