// Arrow keys move between the tabs, which Gradio leaves out.
document.addEventListener("keydown", (event) => {
  const tab = event.target.closest?.('[role="tab"]');
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  if (tab && event.key in steps) {
    const all = [...tab.parentElement.querySelectorAll('[role="tab"]')];
    const next = all[(all.indexOf(tab) + steps[event.key] + all.length) % all.length];
    event.preventDefault();
    next.focus();
    next.click();
  }
});
// A chart drawn in a tab that is not seen, or before its column has its width, keeps that width.
const fitted = new WeakMap();
const watched = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    if (contentRect.width && fitted.get(target) !== contentRect.width) {
      fitted.set(target, contentRect.width);
      window.dispatchEvent(new Event("resize")); // Plotly listens to nothing else
    }
  }
});
new MutationObserver(() => {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    if (!fitted.has(plot.parentElement)) {
      fitted.set(plot.parentElement, 0);
      watched.observe(plot.parentElement);
    }
  }
}).observe(document, { childList: true, subtree: true });
// Gradio takes the Tab key in a list's field for typing, and opens the list again that is just
// being left. The open list itself scrolls, so that browsers would stop at it on the way.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Tab" || !event.target.matches?.('input[role="combobox"]')) return;
  event.stopImmediatePropagation();
  for (const list of document.querySelectorAll("ul.option-list")) list.tabIndex = -1;
}, true);
