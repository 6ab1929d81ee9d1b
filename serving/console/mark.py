"""The mark of Regulars, as an SVG."""

MARK = (
    '<svg viewBox="0 0 32 32" xmlns="http://www.w3.org/2000/svg" aria-hidden="true">'
    '<g fill="none" stroke="#2f8a6a" stroke-width="3.6" stroke-linecap="round" '
    'stroke-linejoin="round"><path d="M14 5a11 11 0 1 0 11 11"/><path d="m20 11.5 5 4.5 4.5-5"/>'
    "</g></svg>"
)
