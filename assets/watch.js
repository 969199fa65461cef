// Asks whether there is anything new about the run that is shown. `props.value` is its name,
// `server` calls the app, `trigger` begins the event that draws.
const SECONDS = 2; // faster redraws exhausted a browser's memory over hours
let seen = null;

async function ask() {
  try {
    const now = await server.mark(props.value ?? "");
    if (now !== seen) trigger("submit");
    seen = now;
  } catch {
    // The app is busy or gone; it is asked again.
  }
  setTimeout(ask, 1000 * SECONDS);
}

setTimeout(ask, 1000 * SECONDS);
