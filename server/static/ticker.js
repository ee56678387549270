// A clock that is not throttled when the page is hidden.
let timer;
onmessage = ({ data }) => {
  clearInterval(timer);
  timer = setInterval(() => postMessage(null), data);
};
