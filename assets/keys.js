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
