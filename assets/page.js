// The page's frame: where it opens, and its colors. Runs once, in the component of the header:
// `element` is its HTML, `server` calls the app.
const THEME = "whisperslim-theme";
let acted = false;
for (const name of ["pointerdown", "keydown"]) {
  document.addEventListener(name, () => { acted = true; }, { capture: true, once: true });
}

// The page was made when the app started, and there may be a result by now. Whoever has done
// anything in the meantime stays where they are.
server.first().then((name) => {
  const tab = document.querySelector(`[role="tab"][data-tab-id="${name}"]`);
  if (tab && !acted && tab.getAttribute("aria-selected") !== "true") tab.click();
});

const button = element.querySelector(".ws-theme");
const isDark = () => document.body.classList.contains("dark");
const paint = (dark) => {
  document.body.classList.toggle("dark", dark);
  button.textContent = dark ? "Light" : "Dark";
};
const kept = localStorage.getItem(THEME);
paint(kept ? kept === "dark" : isDark());
button.addEventListener("click", () => {
  paint(!isDark());
  localStorage.setItem(THEME, isDark() ? "dark" : "light");
});
