"""Self-contained HTML pages: what a model saw and said, and what explains its words."""

from stg.pages.edge_pictures import draw_edges
from stg.pages.notebook import show
from stg.pages.run.page import run_view, write_run_page
from stg.pages.videos.page import write_video_pages

__all__ = ["draw_edges", "run_view", "show", "write_run_page", "write_video_pages"]
