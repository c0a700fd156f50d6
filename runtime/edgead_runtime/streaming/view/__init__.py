"""A page that shows what the loop sees, to be opened on a desktop or a phone.

What needs a web server's packages is imported when the view is opened (:class:`LiveView`).
"""

from edgead_runtime.streaming.view.live import LiveView

__all__ = ["LiveView"]
