"""Boxes from files of other projects, as the features of videos."""
